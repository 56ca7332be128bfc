"""Words to rows of labels."""
