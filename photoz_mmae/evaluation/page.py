"""A description of a mock survey as a page of plots."""
