"""Images to raw predictions, on one device."""
