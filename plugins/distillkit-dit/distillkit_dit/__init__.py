"""Diffusion transformers: DiT, SiT, and one with a second time."""

NUMERICS = 1  # raised where a run's bits change on purpose; in every fingerprint
