"""Networks in the layout of diffusers, and their folders."""

NUMERICS = 1  # raised where a run's bits change on purpose; in every fingerprint
