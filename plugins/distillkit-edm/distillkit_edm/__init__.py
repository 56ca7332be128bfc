"""EDM networks, teacher, training loss and augmentation (arXiv:2206.00364)."""
