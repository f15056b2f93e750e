"""Times, statistics and names of numbers, which scripts for `perf script` take from Util."""

from __future__ import annotations as _annotations

# Scripts that import all names from here use these two as well.
import errno  # noqa: F401
import os  # noqa: F401
from typing import Any as _Any

from ptrace_client.linux_errors import ERRORS as _ERRORS
from ptrace_client.perf_script.audit_names import audit_name as _audit_name

# include/uapi/linux/futex.h
FUTEX_WAIT = 0
FUTEX_WAKE = 1
FUTEX_PRIVATE_FLAG = 128
FUTEX_CLOCK_REALTIME = 256
FUTEX_CMD_MASK = ~(FUTEX_PRIVATE_FLAG | FUTEX_CLOCK_REALTIME)

NSECS_PER_SEC = 1_000_000_000


def avg(total: float, n: float) -> float:
    """Return the mean of `n` values whose sum is `total`."""
    return total / n


def nsecs(secs: int, nsecs: int) -> int:
    """Return the time in ns."""
    return secs * NSECS_PER_SEC + nsecs


def nsecs_secs(nsecs: int) -> float:
    """Return the seconds of a time in ns, with their fraction."""
    return nsecs / NSECS_PER_SEC


def nsecs_nsecs(nsecs: int) -> int:
    """Return what a time in ns has beyond whole seconds."""
    return nsecs % NSECS_PER_SEC


def nsecs_str(nsecs: int) -> tuple[str]:
    """Return a time in ns as text, "%5u.%09u", in a tuple of one, as perf has it."""
    return (f"{int(nsecs_secs(nsecs)):5d}.{int(nsecs_nsecs(nsecs)):09d}",)


def add_stats(dict: dict[_Any, _Any], key: _Any, value: float) -> None:
    """Add a value to the tuple (least, greatest, average, number) that `dict` has for `key`.

    The average is perf's: that of the value and the average before it.
    """
    least, greatest, average, count = dict.get(key, (value, value, value, 0))
    if count:
        average = (average + value) / 2
    dict[key] = (min(least, value), max(greatest, value), average, count + 1)


def clear_term() -> None:
    """Clear the terminal."""
    print("\x1b[H\x1b[2J")


def syscall_name(id: int) -> str:
    """Return the name of a system call of the host that was traced, its number if it has none."""
    return _audit_name(id) or str(id)


def strerror(nr: int) -> str:
    """Return the symbol of an error, ENOENT for 2 and for -2."""
    try:
        return _ERRORS[abs(nr)]
    except KeyError:
        return f"Unknown {nr:d} errno"
