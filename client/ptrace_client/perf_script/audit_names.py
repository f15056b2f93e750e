"""Names of system calls as scripts for `perf script` know them: the audit library's."""

from __future__ import annotations

from typing import Any, Final

from ptrace_client.syscall_names import find_syscall

# Where the library has another name than the kernel.
_NAMES: Final = {"pread64": "pread", "pwrite64": "pwrite"}


def audit_name(number: Any, machine: str | None = None) -> str | None:
    """Return the name of a system call, None where it has none.

    `machine` is as uname(2) says it, by default that of the host that was traced.

    >>> audit_name(17, "x86_64")
    'pread'
    """
    name = find_syscall(number, machine)
    return _NAMES.get(name, name) if name is not None else None
