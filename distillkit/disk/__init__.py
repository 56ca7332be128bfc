"""What survives a crash: all that a run writes goes through here."""
