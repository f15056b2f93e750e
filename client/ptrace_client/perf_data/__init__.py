"""perf.data files: what they hold, read and written."""
