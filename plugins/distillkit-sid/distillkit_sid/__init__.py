"""SiD, SiDA and SiD2A: score identity distillation, with and without an adversary (arXiv:2404.04057, 2410.14919)."""

NUMERICS = 2  # raised where a run's bits change on purpose; in every fingerprint
