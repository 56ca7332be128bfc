"""What one iteration needs."""
