"""Training a network: losses, loop, checkpoint, card."""
