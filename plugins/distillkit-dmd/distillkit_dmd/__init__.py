"""DMD and DMD2: distribution matching distillation (arXiv:2311.18828, 2405.14867), and their auxiliary terms."""

NUMERICS = 1  # raised where a run's bits change on purpose; in every fingerprint
