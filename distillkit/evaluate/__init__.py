"""Numbers and pictures of the averaged generator."""
