"""ptrace_client: run handler scripts, or your own loop, on the events of a ptraced host."""

__version__ = "0.1.0"
