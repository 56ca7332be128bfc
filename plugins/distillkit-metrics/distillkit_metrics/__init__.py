"""Metrics for distillkit: Frechet distance, KID, precision, recall, density, coverage."""
