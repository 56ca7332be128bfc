"""Networks on disk and out in the world."""
