"""What a file is, what is in it, what `predict` makes of it, and what is wrong with it."""
