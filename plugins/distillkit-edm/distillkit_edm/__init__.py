"""EDM networks, teacher, training loss and augmentation (arXiv:2206.00364)."""

NUMERICS = 2  # raised where a run's bits change on purpose; in every fingerprint
