"""Frozen random feature maps for batch statistics."""
