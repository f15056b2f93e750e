"""Names of events that a recording does not name, in perf's words."""

from __future__ import annotations

from typing import Final

from ptrace_client.perf_data.attr import EventAttr, EventKind
from ptrace_formats.event_format import EventFormat

_HARDWARE: Final = (
    "cycles",
    "instructions",
    "cache-references",
    "cache-misses",
    "branches",
    "branch-misses",
    "bus-cycles",
    "stalled-cycles-frontend",
    "stalled-cycles-backend",
    "ref-cycles",
)
_SOFTWARE: Final = (
    "cpu-clock",
    "task-clock",
    "page-faults",
    "context-switches",
    "cpu-migrations",
    "minor-faults",
    "major-faults",
    "alignment-faults",
    "emulation-faults",
    "dummy",
)
# Caches, with the operations that they know.
_CACHES: Final = (
    ("L1-dcache", (0, 1, 2)),
    ("L1-icache", (0, 2)),
    ("LLC", (0, 1, 2)),
    ("dTLB", (0, 1, 2)),
    ("iTLB", (0,)),
    ("branch", (0,)),
    ("node", (0, 1, 2)),
)
_OPERATIONS: Final = ("load", "store", "prefetch")
_OPERATIONS_ALONE: Final = ("loads", "stores", "prefetches")
_RESULTS: Final = ("refs", "misses")
# bp_type: HW_BREAKPOINT_R, _W, _X.
_ACCESSES: Final = ((1, "r"), (2, "w"), (4, "x"))
# Bits of attr.flags.
_EXCLUDE_USER, _EXCLUDE_KERNEL, _EXCLUDE_HV = 1 << 4, 1 << 5, 1 << 6
_EXCLUDE_HOST, _EXCLUDE_GUEST = 1 << 19, 1 << 20
_PRECISE_SHIFT: Final = 15


def event_name(attr: EventAttr, format: EventFormat | None) -> str:
    """Return the name that perf makes of an attr."""
    if attr.type == EventKind.TRACEPOINT:
        return format.title if format is not None else "unknown tracepoint"
    base = _base_name(attr)
    if base is None:
        # perf prints it as an int.
        return f"unknown attr type: {attr.type - (attr.type >> 31 << 32)}"
    return base + modifiers(attr)


def _base_name(attr: EventAttr) -> str | None:
    config = attr.config
    if attr.type == EventKind.HARDWARE:
        return _HARDWARE[config] if config < len(_HARDWARE) else "unknown-hardware"
    if attr.type == EventKind.SOFTWARE:
        return _SOFTWARE[config] if config < len(_SOFTWARE) else "unknown-software"
    if attr.type == EventKind.HW_CACHE:
        return _cache_name(config)
    if attr.type == EventKind.RAW:
        return f"raw {config:#x}"
    if attr.type == EventKind.BREAKPOINT:
        accesses = "".join(letter for bit, letter in _ACCESSES if attr.bp_type & bit)
        return f"mem:{attr.config1:#x}:{accesses}"
    return None


def _cache_name(config: int) -> str:
    cache, operation, result = (config >> shift & 0xFF for shift in (0, 8, 16))
    for what, number, known in (
        ("type", cache, len(_CACHES)),
        ("op", operation, len(_OPERATIONS)),
        ("result", result, len(_RESULTS)),
    ):
        if number >= known:
            return f"unknown-ext-hardware-cache-{what}"
    name, operations = _CACHES[cache]
    if operation not in operations:
        return "invalid-cache"
    if result:
        return f"{name}-{_OPERATIONS[operation]}-{_RESULTS[result]}"
    return f"{name}-{_OPERATIONS_ALONE[operation]}"


def modifiers(attr: EventAttr) -> str:
    """Return what stands behind an event's name: ":u", ":ppp", or nothing."""
    flags, letters, narrowed = attr.flags, "", False
    if flags & (_EXCLUDE_KERNEL | _EXCLUDE_USER | _EXCLUDE_HV):
        for bit, letter in ((_EXCLUDE_KERNEL, "k"), (_EXCLUDE_USER, "u"), (_EXCLUDE_HV, "h")):
            letters += "" if flags & bit else letter
        narrowed = True
    precise = flags >> _PRECISE_SHIFT & 3
    if precise:
        letters += "p" * precise
        narrowed = True
    if flags & _EXCLUDE_HOST or bool(flags & _EXCLUDE_GUEST) == narrowed:
        letters += "" if flags & _EXCLUDE_HOST else "H"
        letters += "" if flags & _EXCLUDE_GUEST else "G"
    return f":{letters}" if letters else ""
