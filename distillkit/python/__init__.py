"""What the commands do, as functions: for scripts and notebooks."""
