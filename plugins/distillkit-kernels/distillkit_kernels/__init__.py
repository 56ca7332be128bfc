"""Kernels for maximum mean discrepancy."""

NUMERICS = 1  # raised where a run's bits change on purpose; in every fingerprint
