"""Continuous-time consistency models: sCT and sCD."""

NUMERICS = 1
