"""The networks, and what travels with their weights."""
