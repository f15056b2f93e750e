"""What a script gets by `import perf_prof`."""

from __future__ import annotations

import types

from ptrace_client.event import PerfEvent


def create() -> types.ModuleType:
    """Return a module `perf_prof` with the class PerfEvent, for annotations and isinstance()."""
    module = types.ModuleType("perf_prof", "Events of ptrace-client, under perf-prof's name.")
    vars(module).update(PerfEvent=PerfEvent, __all__=["PerfEvent"])
    return module
