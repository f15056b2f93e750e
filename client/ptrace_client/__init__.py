"""ptrace_client: run handler scripts, or your own loop, on the events of a ptraced host.

import ptrace_client

with ptrace_client.connect() as host:
    for event in host.trace("sched:sched_switch"):
        print(event.prev_comm, event.next_comm)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

__all__ = ["ClientError", "Host", "PerfEvent", "Stream", "TraceWarning", "Tracing", "connect"]

if TYPE_CHECKING:
    from ptrace_client.errors import ClientError
    from ptrace_client.event import PerfEvent
    from ptrace_client.host import Host, Stream, connect
    from ptrace_client.tracing import TraceWarning, Tracing

_HOMES = {
    "ClientError": "errors",
    "Host": "host",
    "PerfEvent": "event",
    "Stream": "stream",
    "TraceWarning": "tracing",
    "Tracing": "tracing",
    "connect": "host",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used: `--version` must not wait for gRPC."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = globals()[name] = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
