"""Published files that recipes may name: a table of them, a folder for them, and their download."""
