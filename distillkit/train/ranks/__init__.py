"""The processes of one run: which rows of the global batch are whose, what they add up, who decides."""
