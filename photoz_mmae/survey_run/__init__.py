"""A run over a survey: plan, parts, journal, merge; it may be killed at any moment."""
