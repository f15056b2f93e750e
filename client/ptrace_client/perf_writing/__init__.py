"""From a stream to a perf.data file."""
