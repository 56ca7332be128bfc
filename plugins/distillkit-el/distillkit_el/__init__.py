"""Embedding Loss: MMD between real and generated images in random feature spaces (arXiv:2604.22379)."""
