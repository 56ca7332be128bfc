"""Optimizers and a schedule that an `[generator.optimizer]` may name beside the engine's own."""

NUMERICS = 1  # raise it where a run's bits change on purpose
