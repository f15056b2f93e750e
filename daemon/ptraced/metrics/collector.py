"""The metrics as they are now, read off the parts of the daemon when somebody asks."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator, Mapping
from typing import Protocol

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from ptraced import __version__, log
from ptraced.audit import kinds
from ptraced.audit.kinds import Kind
from ptraced.identity import user_name
from ptraced.metrics.names import METRICS
from ptraced.user_counts import OTHER

ByUser = Mapping[int | None, Mapping[str, int]]
_Samples = list[tuple[tuple[str, ...], float]]

# Metrics that count lines of the audit, whether they were written or left out.
_OF_AUDIT = {
    "ptraced_sessions_started": kinds.SESSION_START,
    "ptraced_throttles": kinds.THROTTLE_START,
    "ptraced_kills": kinds.KILL,
    "ptraced_denials": kinds.DENIED,
    "ptraced_connections_accepted": kinds.CONNECT,
    "ptraced_connections_refused": kinds.REFUSED,
}
_HELD = {
    "ptraced_programs": "programs",
    "ptraced_probes": "probes",
    "ptraced_buffer_bytes": "buffer_bytes",
}


class Parts(Protocol):
    """What the daemon tells of its parts."""

    def session_counts(self) -> ByUser:
        """By uid: "events", "bytes", "run_time" (ns), "lost STAGE"; "open" and "queued" now."""

    def held(self) -> ByUser:
        """By uid: "programs", "probes", "buffer_bytes"."""

    def audited(self) -> Mapping[int | None, Mapping[Kind, int]]:
        """By uid: facts for the audit."""

    def audit_lines(self) -> tuple[Mapping[Kind, int], int, int]:
        """Lines of the audit by kind, those lost, and those left out."""

    def sources(self) -> int:
        """Modules in the kernel."""

    def compilations(self) -> tuple[int, float]:
        """Their number, and seconds."""

    def resident_bytes(self) -> Mapping[str, int]:
        """Memory in RAM of the daemon and its helpers, by their names."""


class DaemonCollector:
    """Yields the metrics of METRICS, from `parts`."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def collect(self) -> Iterator[Metric]:
        samples = {**self._of_users(), **self._of_daemon()}
        for name, metric in METRICS.items():
            family = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
            made = family(name, metric.help, labels=metric.labels)
            for labels, value in samples[name]:
                made.add_metric(labels, value)
            yield made

    def _of_users(self) -> dict[str, _Samples]:
        sessions, held, audited = (
            self._parts.session_counts(),
            self._parts.held(),
            self._parts.audited(),
        )
        found = {
            "ptraced_sessions": _by_user(sessions, "open"),
            "ptraced_events": _by_user(sessions, "events"),
            "ptraced_bytes": _by_user(sessions, "bytes"),
            "ptraced_queue_bytes": _by_user(sessions, "queued"),
            "ptraced_bpf_seconds": [
                (labels, ns / 1e9) for labels, ns in _by_user(sessions, "run_time")
            ],
            "ptraced_lost_events": _by_stage(sessions),
            "ptraced_connections": _open_connections(audited),
        }
        found |= {name: _by_user(held, key) for name, key in _HELD.items()}
        return found | {
            name: [
                ((_label(uid),), counts[kind]) for uid, counts in audited.items() if counts[kind]
            ]
            for name, kind in _OF_AUDIT.items()
        }

    def _of_daemon(self) -> dict[str, _Samples]:
        lines, lost, left_out = self._parts.audit_lines()
        compilations, seconds = self._parts.compilations()
        usage = resource.getrusage(resource.RUSAGE_SELF)
        return {
            "ptraced_info": [((__version__,), 1)],
            "ptraced_sources": [((), self._parts.sources())],
            "ptraced_compilations": [((), compilations)],
            "ptraced_compile_seconds": [((), seconds)],
            "ptraced_resident_bytes": [
                ((name,), size) for name, size in self._parts.resident_bytes().items()
            ],
            "ptraced_open_files": [((), len(os.listdir("/proc/self/fd")))],
            "ptraced_cpu_seconds": [((), usage.ru_utime + usage.ru_stime)],
            "ptraced_audit_lines": [((kind.name,), count) for kind, count in lines.items()],
            "ptraced_audit_lines_lost": [((), lost)],
            "ptraced_audit_lines_left_out": [((), left_out)],
        }


def _by_user(counts: ByUser, key: str) -> _Samples:
    return [((_label(uid),), found[key]) for uid, found in counts.items() if key in found]


def _by_stage(counts: ByUser) -> _Samples:
    return [
        ((_label(uid), key.removeprefix("lost ")), count)
        for uid, found in counts.items()
        for key, count in found.items()
        if key.startswith("lost ")
    ]


def _open_connections(audited: Mapping[int | None, Mapping[Kind, int]]) -> _Samples:
    return [
        ((_label(uid),), counts[kinds.CONNECT] - counts[kinds.DISCONNECT])
        for uid, counts in audited.items()
        if counts[kinds.CONNECT]
    ]


def _label(uid: int | None) -> str:
    if uid is OTHER:
        return "other"
    return log.printable(user_name(uid)) or str(uid)
