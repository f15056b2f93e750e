"""Scripts in perf's dialect on the streams of a daemon."""
