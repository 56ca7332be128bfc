"""Launchers: the same command on the machines of SLURM, Kubeflow or SkyPilot."""

NUMERICS = 1  # nothing here moves a bit
