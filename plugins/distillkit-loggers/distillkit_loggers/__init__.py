"""Runs told to services that draw curves."""

NUMERICS = 1  # nothing here moves a bit
