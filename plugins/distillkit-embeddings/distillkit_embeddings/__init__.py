"""Frozen random feature maps for batch statistics."""

NUMERICS = 2  # raised where a run's bits change on purpose; in every fingerprint
