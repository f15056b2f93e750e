"""perf script's dialect: its callbacks, its modules, its scripts."""
