"""Metrics for distillkit: Frechet distance, KID, precision, recall, density, coverage."""

NUMERICS = 1  # raised where a run's bits change on purpose; in every fingerprint
