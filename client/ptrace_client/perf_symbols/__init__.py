"""Names of addresses in a recording, as perf finds them."""
