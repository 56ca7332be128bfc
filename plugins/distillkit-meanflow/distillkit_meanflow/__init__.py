"""MeanFlow and improved MeanFlow: one-step generators by average velocities (arXiv:2505.13447, 2512.02012)."""

NUMERICS = 1  # raised where a run's bits change on purpose; in every fingerprint
