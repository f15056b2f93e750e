"""Which events of the syscalls: family can hang on raw_syscalls:, dispatched by number."""

from __future__ import annotations

import platform
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from ptrace_formats.event_format import EventFormat
from ptraced import btf
from ptraced.errors import Unavailable

SYSCALLS_MAX = 1024
# Fewer than this are attached one by one: the dispatcher runs at every system call
# of the host.
_WORTHWHILE = 4
_NUMBER = re.compile(r"^#define __NR(?:3264)?_(\w+)\s+(\d+)$", re.MULTILINE)
# Kernel functions, which events are named after, that are not named like the call.
_FUNCTIONS = {
    "fstat": "newfstat",
    "lstat": "newlstat",
    "sendfile": "sendfile64",
    "stat": "newstat",
    "umount2": "umount",
    "uname": "newuname",
}
# Calls that installed headers may be too old to know.
_RECENT = Path(__file__).with_name("recent_syscalls.txt")


@dataclass(frozen=True, slots=True)
class Dispatched:
    """An event that a dispatcher jumps to: "enter" or "exit", and the call's number."""

    side: str
    number: int


def dispatched(events: Sequence[EventFormat], headers: Path) -> dict[int, Dispatched]:
    """Events, by position, that can be dispatched; empty where that is not worth it."""
    if status_offset() is None:
        # 32-bit calls could not be told from others.
        return {}
    numbers = _numbers(headers)
    found: dict[int, Dispatched] = {}
    for position, event in enumerate(events):
        place = _place(event, numbers)
        # An event that is selected twice is attached by itself the second time.
        if place is not None and place not in found.values():
            found[position] = place
    return found if len(found) >= _WORTHWHILE else {}


def _place(event: EventFormat, numbers: dict[str, int]) -> Dispatched | None:
    match = re.fullmatch(r"sys_(enter|exit)_(\w+)", event.name)
    if event.system != "syscalls" or match is None or match[2] not in numbers:
        return None
    # Newer kernels put strings into some records, which the raw ones do not have.
    if any(field.size not in (4, 8) or "__data_loc" in field.ctype for field in event.fields):
        return None
    return Dispatched(match[1], numbers[match[2]])


@lru_cache(maxsize=4)
def _numbers(headers: Path) -> dict[str, int]:
    """System call numbers by the name of the kernel's function."""
    arch = {"x86_64": "x86", "aarch64": "arm64"}.get(platform.machine(), "")
    places = (
        headers / f"arch/{arch}/include/generated/uapi/asm/unistd_64.h",
        headers / "include/uapi/asm-generic/unistd.h",
    )
    for place in places[arch == "arm64" :]:
        if place.exists():
            known = _NUMBER.findall(place.read_text())
            return _recent() | {_FUNCTIONS.get(name, name): int(number) for name, number in known}
    return {}


def _recent() -> dict[str, int]:
    lines = (line.split() for line in _RECENT.read_text().splitlines() if line[0] != "#")
    machine = platform.machine()
    return {name: int(number) for number, where, name in lines if where in ("all", machine)}


def status_offset() -> int | None:
    """Bytes from a task_struct to its thread_info.status; None where there is none."""
    try:
        inside = btf.member_offset("thread_info", "status")
        start = btf.member_offset("task_struct", "thread_info")
    except Unavailable:
        return None
    return None if inside is None or start is None else start + inside
