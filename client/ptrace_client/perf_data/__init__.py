"""perf.data files: what they hold, read."""
