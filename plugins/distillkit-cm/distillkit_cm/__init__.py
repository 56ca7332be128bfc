"""Consistency models: distillation, training and easy tuning (arXiv:2303.01469, 2406.14548)."""
