"""CTM: one student that jumps from any noise level of its teacher's flow to any lower one (arXiv:2310.02279)."""

NUMERICS = 1  # raised where a run's bits change on purpose; in every fingerprint
