"""The metrics by name. docs/metrics.md is made of this: `python -m ptraced.metrics.names`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric; those of kind "counter" have `_total` behind their name when they are read."""

    kind: Literal["counter", "gauge"]
    help: str
    labels: tuple[str, ...] = ()


_USER: Final = ("user",)

METRICS: Final = {
    "ptraced_info": Metric("gauge", "1, with the daemon's version.", ("version",)),
    "ptraced_sessions": Metric("gauge", "Sessions that are open.", _USER),
    "ptraced_sessions_started": Metric("counter", "Sessions that were opened.", _USER),
    "ptraced_events": Metric("counter", "Events put into the streams of sessions.", _USER),
    "ptraced_bytes": Metric("counter", "Bytes of rows put into the streams of sessions.", _USER),
    "ptraced_bpf_seconds": Metric(
        "counter",
        "Time that BPF programs took on all CPUs, by measuring some of their runs.",
        _USER,
    ),
    "ptraced_lost_events": Metric(
        "counter",
        "Events that happened and were not delivered, by stage: kernel_buffer, queue, throttled; "
        "skipped is an upper bound.",
        ("user", "stage"),
    ),
    "ptraced_queue_bytes": Metric("gauge", "Bytes that wait for clients to read them.", _USER),
    "ptraced_throttles": Metric("counter", "Times that sessions were throttled.", _USER),
    "ptraced_kills": Metric("counter", "Sessions that a user killed.", _USER),
    "ptraced_denials": Metric("counter", "Calls that the policy or a limit denied.", _USER),
    "ptraced_connections": Metric("gauge", "Connections that are open.", _USER),
    "ptraced_connections_accepted": Metric("counter", "Connections that were let in.", _USER),
    "ptraced_connections_refused": Metric("counter", "Connections that were not let in.", _USER),
    "ptraced_programs": Metric(
        "gauge", "BPF programs that users hold, shared ones for each.", _USER
    ),
    "ptraced_probes": Metric(
        "gauge", "Places of probes that users hold, shared ones for each.", _USER
    ),
    "ptraced_buffer_bytes": Metric(
        "gauge", "Kernel buffers that users hold, shared ones for each.", _USER
    ),
    "ptraced_sources": Metric("gauge", "Modules of BPF programs that are in the kernel."),
    "ptraced_compilations": Metric("counter", "Compilations of BPF programs."),
    "ptraced_compile_seconds": Metric("counter", "Time that compilations took."),
    "ptraced_resident_bytes": Metric(
        "gauge",
        "Memory of the daemon and its helper processes that is in RAM, by process.",
        ("process",),
    ),
    "ptraced_open_files": Metric("gauge", "Descriptors of the daemon."),
    "ptraced_cpu_seconds": Metric("counter", "CPU time of the daemon, without its helpers."),
    "ptraced_audit_lines": Metric("counter", "Lines of the audit, by event.", ("event",)),
    "ptraced_audit_lines_lost": Metric("counter", "Lines of the audit that could not be written."),
    "ptraced_audit_lines_left_out": Metric(
        "counter", "Lines of the audit that were too many of one user."
    ),
}

_HEAD = """\
# Metrics

For Prometheus, off by default. `[metrics]` of the configuration turns them on:

```toml
[metrics]
listen = "unix:/run/ptraced/metrics.sock"   # or "127.0.0.1:9464"
```

A Unix socket may be used by the daemon's own group. A TCP port may be read by everybody on the
host, and shows who traces how much; other addresses than loopback ones need `public = true` beside
it, and something before them that asks who reads. `curl --unix-socket /run/ptraced/metrics.sock
http://localhost/metrics` shows them.

Users are told by name, or uid where they have none. Counters of ended sessions are kept for the 100
users who were seen last; those of all others are summed up as `other`.

| name | kind | labels | |
|---|---|---|---|
"""


def read_as(name: str) -> str:
    """Return the name of a metric as Prometheus has it."""
    return f"{name}_total" if METRICS[name].kind == "counter" else name


def documentation() -> str:
    """Return docs/metrics.md."""
    rows = (
        f"| `{read_as(name)}` | {metric.kind} | {', '.join(metric.labels)} | {metric.help} |\n"
        for name, metric in METRICS.items()
    )
    return _HEAD + "".join(rows)


if __name__ == "__main__":
    print(documentation(), end="")
