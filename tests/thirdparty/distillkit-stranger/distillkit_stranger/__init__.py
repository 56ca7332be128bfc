"""A teacher and its network."""
