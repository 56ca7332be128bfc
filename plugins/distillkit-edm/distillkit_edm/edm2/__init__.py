"""EDM2: magnitude-preserving networks, their training loss and post-hoc averages (arXiv:2312.02696)."""
