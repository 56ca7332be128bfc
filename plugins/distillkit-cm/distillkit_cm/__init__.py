"""Consistency models: distillation, training and easy tuning (arXiv:2303.01469, 2406.14548)."""

NUMERICS = 1  # raised where a run's bits change on purpose; in every fingerprint
