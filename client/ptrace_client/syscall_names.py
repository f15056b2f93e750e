"""Names of system calls, which events of raw_syscalls: tell by number."""

from __future__ import annotations

import functools
import platform
from pathlib import Path
from typing import Final

# Of lines in syscall_names.txt.
_COLUMNS: Final = {"x86_64": 1, "aarch64": 2}


def syscall_name(number: int, machine: str | None = None) -> str:
    """Return the name of a 64-bit system call, as of kernel 6.17, or its number where unknown.

    `machine` is as uname(2) says it, by default of this host: "x86_64" and "aarch64" are known.

    >>> syscall_name(0, "x86_64")
    'read'
    """
    return _names(machine or platform.machine()).get(number, str(number))


@functools.cache
def _names(machine: str) -> dict[int, str]:
    column = _COLUMNS.get(machine)
    text = Path(__file__).with_name("syscall_names.txt").read_text(encoding="ascii")
    rows = [line.split() for line in text.splitlines() if not line.startswith("#")]
    if column is None:
        return {}
    return {int(row[column]): row[0] for row in rows if row[column] != "-"}
