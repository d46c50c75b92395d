"""Training files: images, spectra and redshifts, and how they are split."""
