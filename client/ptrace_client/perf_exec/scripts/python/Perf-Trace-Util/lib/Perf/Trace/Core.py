"""Texts of flags and symbols, and what else scripts for `perf script` take from Core.

The tables are filled by the define_*() calls before the first event of a type.
"""

from __future__ import annotations as _annotations

from collections import defaultdict
from typing import Any as _Any


def autodict() -> defaultdict[_Any, _Any]:
    """Make a dictionary whose missing entries become such dictionaries.

    >>> counts = autodict()
    >>> counts["bash"]["read"] = 1
    """
    return defaultdict(autodict)


# [event][field]["delim"] and [event][field]["values"][bits].
flag_fields = autodict()
# [event][field]["values"][number].
symbolic_fields = autodict()


def define_flag_field(event_name: str, field_name: str, delim: str) -> None:
    """Tell what stands between the flags of a field."""
    flag_fields[event_name][field_name]["delim"] = delim


def define_flag_value(event_name: str, field_name: str, value: int, field_str: str) -> None:
    """Name the flag whose bits are `value`."""
    flag_fields[event_name][field_name]["values"][value] = field_str


def define_symbolic_field(event_name: str, field_name: str) -> None:
    """Announce a field with names; its values come one by one."""


def define_symbolic_value(event_name: str, field_name: str, value: int, field_str: str) -> None:
    """Name a value of a field."""
    symbolic_fields[event_name][field_name]["values"][value] = field_str


def flag_str(event_name: str, field_name: str, value: int) -> str:
    """Return the names of the flags in `value`, "" for a field without any.

    Bits without a name are left out. The name of zero stands for no flags at all.
    """
    field = flag_fields[event_name][field_name]
    if not field:
        return ""
    names = field["values"]
    text = ""
    is_first = True
    for bits in sorted(names):
        if not bits:
            if not value:
                text += names[bits]
                break
        elif value & bits == bits:
            if not is_first and field["delim"]:
                text += f" {field['delim']} "
            text += names[bits]
            is_first = False
            value &= ~bits
    return text


def symbol_str(event_name: str, field_name: str, value: _Any) -> str:
    """Return the name of `value`, "" where it has none."""
    field = symbolic_fields[event_name][field_name]
    if not field:
        return ""
    try:
        return str(field["values"].get(value or 0, ""))
    except TypeError:
        # A bytearray, which is no key and equals none.
        return ""


# Bits of common_flags, as far as perf names them.
trace_flags = {
    0x00: "NONE",
    0x01: "IRQS_OFF",
    0x02: "IRQS_NOSUPPORT",
    0x04: "NEED_RESCHED",
    0x08: "HARDIRQ",
    0x10: "SOFTIRQ",
}


def trace_flag_str(value: int) -> str:
    """Return the names of the bits of common_flags(context)."""
    text = ""
    for bits in trace_flags:
        if not bits:
            if not value:
                return text + "NONE"
        elif value & bits == bits:
            text += (" | " if text else "") + trace_flags[bits]
            value &= ~bits
    return text


_TASK_STATES = {0: "R", 1: "S", 2: "D", 64: "DEAD"}


def taskState(state: int) -> str:
    """Return the letter of a task's state, "Unknown" for all but R, S, D and DEAD."""
    return _TASK_STATES.get(state, "Unknown")


class EventHeaders:
    """The common arguments of a handler, as one object."""

    def __init__(
        self,
        common_cpu: int,
        common_secs: int,
        common_nsecs: int,
        common_pid: int,
        common_comm: str,
        common_callchain: list[dict[str, _Any]],
    ) -> None:
        self.cpu = common_cpu
        self.secs = common_secs
        self.nsecs = common_nsecs
        self.pid = common_pid
        self.comm = common_comm
        self.callchain = common_callchain

    def ts(self) -> int:
        """Return the time in ns."""
        return self.secs * 1_000_000_000 + self.nsecs

    def ts_format(self) -> str:
        """Return the time as seconds, a point, and microseconds without leading zeros."""
        return f"{self.secs:d}.{int(self.nsecs / 1000):d}"
