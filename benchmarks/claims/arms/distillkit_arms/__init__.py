"""Arms of the studies in benchmarks/claims that no plugin offers."""
