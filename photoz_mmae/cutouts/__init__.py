"""From FITS files to image arrays: every object gets a row, whatever is wrong with its files."""
