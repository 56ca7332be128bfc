"""The sections of a run's page, one in each file: they take what was read of the run, and make HTML."""
