"""RealUID: inverse distillation that real images may help, without a discriminator (arXiv:2509.22459)."""

NUMERICS = 1  # raised where a run's bits change on purpose; in every fingerprint
