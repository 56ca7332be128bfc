"""Datasets for distillkit."""
