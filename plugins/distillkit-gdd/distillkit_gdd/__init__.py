"""GDD and GDD-I: one-step generators from a GAN loss alone, against frozen feature networks (arXiv:2405.20750)."""
