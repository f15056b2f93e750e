"""Names of system calls, which events of raw_syscalls: tell by number."""

from __future__ import annotations

import functools
import importlib
import platform
import re
from typing import Final

# uname(2)'s machine to the tables of the package system-calls, which follows the kernel's
# arch/*/tools/syscall tables; all other machines have tables of their own name, if any.
_TABLES: Final = (
    ("aarch64", "arm64"),
    ("arm.*", "arm"),
    ("i.86", "i386"),
    ("ppc64(le)?", "powerpc64"),
    ("ppc(le)?", "powerpc"),
)
# System calls that today's kernels no longer have, by their number on x86_64.
_WITHDRAWN: Final = {
    134: "uselib",
    156: "_sysctl",
    174: "create_module",
    177: "get_kernel_syms",
    178: "query_module",
    180: "nfsservctl",
    181: "getpmsg",
    182: "putpmsg",
    183: "afs_syscall",
    184: "tuxcall",
    185: "security",
    236: "vserver",
}

_traced_machine: str | None = None


def set_traced_machine(machine: str | None) -> None:
    """Say what uname(2) calls the host whose events follow; None is for this one."""
    global _traced_machine
    _traced_machine = machine


def syscall_name(number: int, machine: str | None = None) -> str:
    """Return the name of a system call, or its number where unknown.

    `machine` is as uname(2) says it, by default that of the host that was traced.

    >>> syscall_name(0, "x86_64")
    'read'
    """
    return find_syscall(number, machine) or str(number)


def find_syscall(number: int, machine: str | None = None) -> str | None:
    """Return the name of a system call, None where it has none; `machine` as above."""
    return _names(machine or _traced_machine or platform.machine()).get(number)


@functools.cache
def _names(machine: str) -> dict[int, str]:
    table = next((name for pattern, name in _TABLES if re.fullmatch(pattern, machine)), machine)
    if not re.fullmatch(r"\w+", table):
        return {}
    try:
        module = importlib.import_module(f"system_calls.tables.{table}")
    except ImportError:
        return {}
    numbers: dict[str, int] = getattr(module, f"syscalls_{table}", {})
    withdrawn = _WITHDRAWN if table == "x86_64" else {}
    return withdrawn | {number: name for name, number in numbers.items()}
