"""Diff-Instruct: the difference of two scores instructs the generator (arXiv:2305.18455)."""
