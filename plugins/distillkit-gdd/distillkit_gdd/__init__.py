"""GDD and GDD-I: one-step generators from a GAN loss alone, against frozen feature networks (arXiv:2405.20750)."""

NUMERICS = 2  # raised where a run's bits change on purpose; in every fingerprint
