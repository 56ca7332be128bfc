"""DMD and DMD2: distribution matching distillation (arXiv:2311.18828, 2405.14867), and their auxiliary terms."""
