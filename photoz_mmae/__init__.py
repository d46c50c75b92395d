"""Redshifts of survey galaxies from images alone, with a multi-modal masked autoencoder."""

__version__ = "0.1.0.dev0"
