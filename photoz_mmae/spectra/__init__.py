"""Spectra: the two normalisations, pooling, and what a spectrum says in two numbers."""
