"""Consistency models: distilled, trained, tuned, truncated (arXiv:2303.01469, 2310.14189, 2406.14548, 2410.14895)."""

NUMERICS = 1  # raised where a run's bits change on purpose; in every fingerprint
