"""What a daemon holds: compared before and after, to the descriptor."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from processes import Daemon

# Seconds after which a wait is in vain: far more than anything takes.
_NEVER = 60.0


# A pool of gRPC's own that grows and shrinks as it likes.
_POOL = "event_engine"


def holdings(daemon: Daemon) -> Counter[str]:
    """Descriptors of a daemon by kind, and its threads by name."""
    found: Counter[str] = Counter()
    for fd in Path(f"/proc/{daemon.pid}/fd").iterdir():
        try:
            found[_kind(os.readlink(fd))] += 1
        except (FileNotFoundError, ProcessLookupError):
            pass
    for task in Path(f"/proc/{daemon.pid}/task").iterdir():
        try:
            found[f"thread {(task / 'comm').read_text().strip()}"] += 1
        except (FileNotFoundError, ProcessLookupError):
            pass
    del found[f"thread {_POOL}"]
    return found


def kernel_objects(daemon: Daemon) -> list[str]:
    """Kinds of probes, programs, maps and rings that a daemon has."""
    return [kind for kind in holdings(daemon) if "bpf" in kind or "perf" in kind]


def _kind(target: str) -> str:
    return target if target.startswith("anon_inode:") else target.partition(":")[0]


def bpf_programs() -> set[int]:
    """Ids of all BPF programs of type tracepoint that are loaded on this host."""
    said = subprocess.run(["bpftool", "-j", "prog", "show"], check=True, capture_output=True)
    return {program["id"] for program in json.loads(said.stdout) if program["type"] == "tracepoint"}


def programs_of(daemon: Daemon) -> set[int]:
    """Ids of the BPF programs that a daemon holds, whatever other daemons of this host do."""
    found = set()
    for info in Path(f"/proc/{daemon.pid}/fdinfo").iterdir():
        try:
            lines = info.read_text().splitlines()
        except (FileNotFoundError, ProcessLookupError):
            continue
        found |= {int(line.split()[1]) for line in lines if line.startswith("prog_id:")}
    return found


def ids_of(daemon: Daemon) -> dict[str, set[int]]:
    """Ids of what a daemon holds of BPF: by "prog", "map" and "link"."""
    found: dict[str, set[int]] = {"prog": set(), "map": set(), "link": set()}
    for info in Path(f"/proc/{daemon.pid}/fdinfo").iterdir():
        try:
            lines = info.read_text().splitlines()
        except (FileNotFoundError, ProcessLookupError):
            continue
        for line in lines:
            kind, separator, number = line.partition("_id:")
            if separator and kind in found:
                found[kind].add(int(number))
    return found


def bpf_ids(kind: str) -> set[int]:
    """Ids of all programs, maps or links of this host."""
    said = subprocess.run(["bpftool", "-j", kind, "show"], check=True, capture_output=True)
    return {item["id"] for item in json.loads(said.stdout or "[]")}


def children_of(pid: int) -> list[int]:
    """Processes that any thread of `pid` started."""
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            found += map(int, (task / "children").read_text().split())
        except (FileNotFoundError, ProcessLookupError):
            pass
    return found


def resident_bytes(daemon: Daemon) -> int:
    for line in Path(f"/proc/{daemon.pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no VmRSS")


def wait_until(holds: Callable[[], bool], what: str) -> None:
    """Look at a condition until it holds, and fail where it never does."""
    wait_until_none(lambda: not holds(), what)


def wait_until_none(left: Callable[[], object], what: str) -> None:
    """Look at what is left until nothing is, and fail with it where that never comes."""
    deadline = time.monotonic() + _NEVER
    while found := left():
        assert time.monotonic() < deadline, f"{what}: {found}"
        os.sched_yield()
