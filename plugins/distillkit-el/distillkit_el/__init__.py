"""Embedding Loss: MMD between real and generated images in random feature spaces (arXiv:2604.22379)."""

NUMERICS = 2  # raised where a run's bits change on purpose; in every fingerprint
