"""Dynamic probes: from selectors such as kprobe:vfs_read to places in code, and their fields."""
