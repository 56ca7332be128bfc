"""Diff-Instruct: the difference of two scores instructs the generator (arXiv:2305.18455)."""

NUMERICS = 2  # raised where a run's bits change on purpose; in every fingerprint
