"""Recipes to finished runs."""
