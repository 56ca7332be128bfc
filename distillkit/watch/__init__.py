"""Runs followed in a browser while they go."""
