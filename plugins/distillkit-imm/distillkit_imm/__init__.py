"""Inductive moment matching (arXiv:2503.07565)."""

NUMERICS = 1  # raised where a run's bits change on purpose; in every fingerprint
