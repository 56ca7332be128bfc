"""Kernels for maximum mean discrepancy."""
