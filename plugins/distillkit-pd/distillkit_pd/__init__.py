"""Progressive distillation and TRACT: chains of students with fewer steps (arXiv:2202.00512, 2303.04248)."""

NUMERICS = 1  # raised where a run's bits change on purpose; in every fingerprint
