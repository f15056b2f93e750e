"""Tables of results, and the page that holds them."""

from __future__ import annotations

import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

from control import SESSIONS, Control
from dialects import DialectCost
from latency import RATE, Latency
from measure import Measurement, Result
from reading import Reading
from wildcard import WILDCARD, Wildcard

# A tool's name and its handler.
Key = tuple[str, str]


@dataclass
class Results:
    """What all rounds have measured, each list with one entry a round."""

    empty_calls: list[float] = field(default_factory=list)
    untraced_ns: list[float] = field(default_factory=list)
    tools: dict[Key, list[Result]] = field(default_factory=dict)
    latencies: dict[str, list[Latency]] = field(default_factory=dict)
    wildcards: dict[str, list[Wildcard]] = field(default_factory=dict)
    controls: list[Control] = field(default_factory=list)
    # By handler.
    dialects: dict[str, list[DialectCost]] = field(default_factory=dict)
    # By program and handler; empty without perf.
    readings: dict[Key, list[Reading]] = field(default_factory=dict)


def page(results: Results, command: str) -> str:
    """The page of results, from the template beside this file."""
    template = Path(__file__).with_name("performance.md.in").read_text()
    holes = {
        "command": command,
        "rounds": str(len(results.untraced_ns)),
        "machine": _machine(),
        "yardstick": _yardstick(results),
        "tools": tools_table(results),
        "latencies": latency_table(results.latencies),
        "rate": f"{RATE:,}",
        "sessions": str(SESSIONS),
        "controls": control_table(results.controls),
        "wildcard": WILDCARD,
        "wildcards": wildcard_table(results.wildcards),
        "dialects": dialect_table(results.dialects),
        "readings": reading_table(results.readings),
    }
    return re.sub(r"@(\w+)@", lambda hole: holes[hole[1]], template)


def tools_table(results: Results) -> str:
    """One row for each tool and handler."""
    untraced = statistics.median(results.untraced_ns) / 1e3
    rows = [["untraced", "", "", "", "", f"{untraced:.2f}", "", ""]]
    for (name, handler), measured in results.tools.items():
        full = [result.full for result in measured]
        lossless = [result.lossless for result in measured]
        cpu = _median(lossless, lambda one: one.cpu_per_million)
        call = _median(full, lambda one: one.call_ns) / 1e3
        rows.append(
            [
                name,
                handler,
                f"{_median(lossless, lambda one: one.rate) / 1e6:.2f}",
                f"{_median(full, lambda one: one.lost / one.calls):.0%}",
                f"{cpu:.3f}" if cpu < 1 else f"{cpu:.1f}",
                f"{call:.2f}",
                f"{call - untraced:+.2f}",
                f"{_median(lossless, lambda one: one.peak_bytes) / 2**20:.0f}",
            ]
        )
    heads = [
        "tool",
        "handler",
        "M events/s without loss",
        "lost at full speed",
        "CPU s per million events",
        "traced call takes, us",
        "slower by, us",
        "memory, MiB",
    ]
    return _table(heads, rows)


def latency_table(latencies: Mapping[str, Sequence[Latency]]) -> str:
    """One row for each tool."""
    rows = []
    for name, measured in latencies.items():
        if any(latency.held for latency in measured):
            rows.append([name, "held until the end", "held until the end"])
            continue
        p50 = statistics.median(latency.p50 for latency in measured)
        p99 = statistics.median(latency.p99 for latency in measured)
        rows.append([name, f"{p50 * 1e3:.2f}", f"{p99 * 1e3:.2f}"])
    return _table(["tool", "p50, ms", "p99, ms"], rows)


def control_table(controls: Sequence[Control]) -> str:
    """One row for each control call."""
    rows = []
    for control in controls:
        times = sorted(control.times)
        chosen = (times[len(times) // 2], times[len(times) * 99 // 100], times[-1])
        rows.append([control.name, *(f"{one * 1e3:.1f}" for one in chosen)])
    return _table(["call", "p50, ms", "p99, ms", "longest, ms"], rows)


def wildcard_table(wildcards: Mapping[str, Sequence[Wildcard]]) -> str:
    """One row for each tool."""
    rows = [
        [
            name,
            f"{statistics.median(one.start for one in measured):.2f}",
            f"{statistics.median(one.close for one in measured):.2f}",
        ]
        for name, measured in wildcards.items()
    ]
    return _table(["tool", "start, s", "end, s"], rows)


def dialect_table(dialects: Mapping[str, Sequence[DialectCost]]) -> str:
    """One row for each handler; the ratio is the median of those of the rounds."""
    rows = [
        [
            handler,
            f"{statistics.median(one.ours for one in measured):.3f}",
            f"{statistics.median(one.perf for one in measured):.3f}",
            f"{statistics.median(one.perf / one.ours for one in measured):.2f}",
        ]
        for handler, measured in dialects.items()
    ]
    return _table(["handler", "our dialect", "perf's dialect", "ratio"], rows)


def reading_table(readings: Mapping[Key, Sequence[Reading]]) -> str:
    """One row for each program and handler."""
    rows = [
        [
            name,
            handler,
            f"{statistics.median(one.rate for one in measured):,.0f}",
            f"{statistics.median(one.cpu_per_million for one in measured):.2f}",
        ]
        for (name, handler), measured in readings.items()
    ]
    return _table(["tool", "handler", "events/s", "CPU s per million events"], rows)


def _median(measured: Iterable[Measurement], value: Callable[[Measurement], float]) -> float:
    return statistics.median(map(value, measured))


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    # The first two columns may be names, all others are numbers.
    rule = ["---" if head in ("tool", "handler", "call") else "---:" for head in heads]
    return "\n".join("| " + " | ".join(row) + " |" for row in (heads, rule, *rows))


def _yardstick(results: Results) -> str:
    empty = statistics.median(results.empty_calls)
    lines = [f"An empty Python function called a million times costs {empty:.3f} CPU s."]
    for (name, handler), measured in results.tools.items():
        if name == "ptraced":
            cpu = _median((one.lossless for one in measured), lambda one: one.cpu_per_million)
            lines.append(f"- {name}, {handler}: {cpu / empty:.1f} times that")
    return "\n".join(lines)


def _machine() -> str:
    facts = {
        "CPUs": f"{os.cpu_count()} ({platform.machine()})",
        "kernel": platform.release().partition("-")[0],
        "Python": platform.python_version(),
        "grpcio": version("grpcio"),
        "NumPy": version("numpy"),
        "BCC": _output(sys.executable, "-c", "import bcc; print(bcc.__version__)"),
    }
    for peer in ("perf", "bpftrace"):
        if shutil.which(peer) is not None:
            facts[peer] = _output(peer, "--version").split()[-1].removeprefix("v")
    return ", ".join(f"{name} {value}" for name, value in facts.items())


def _output(*command: str) -> str:
    answer = subprocess.run(command, capture_output=True, text=True, check=True)
    return answer.stdout.strip()
