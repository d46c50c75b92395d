"""The catalogue: its columns, and how they are written to a file that explains itself."""
