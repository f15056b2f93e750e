"""A small virtual machine with Debian's kernel, and tests that run in it (see `run`)."""
