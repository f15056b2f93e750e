"""Sampled events: profile, page-faults, breakpoint, and all that `perf list` shows."""
