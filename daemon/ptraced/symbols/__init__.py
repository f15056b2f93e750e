"""Addresses to names: a process of its own that turns stacks into frames."""
