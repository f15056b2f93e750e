"""System calls that Python's standard library lacks: bpf(2), perf_event_open(2), openat2(2)."""

from __future__ import annotations

import ctypes
import os
import platform
import struct

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long

# arch/x86/entry/syscalls/syscall_64.tbl and include/uapi/asm-generic/unistd.h.
_NUMBERS = {
    "x86_64": {"bpf": 321, "perf_event_open": 298},
    "aarch64": {"bpf": 280, "perf_event_open": 241},
}
_numbers = _NUMBERS.get(platform.machine(), _NUMBERS["aarch64"])


def bpf(command: int, attr: ctypes.Array[ctypes.c_char]) -> int:
    """Call bpf(2) with `attr` as its union; returns its result or raises OSError."""
    result: int = _libc.syscall(
        ctypes.c_long(_numbers["bpf"]),
        ctypes.c_int(command),
        attr,
        ctypes.c_uint(len(attr)),
    )
    return _checked(result)


def perf_event_open(attr: bytes, pid: int, cpu: int, flags: int, group: int = -1) -> int:
    """Call perf_event_open(2); returns the descriptor or raises OSError.

    `group` is the descriptor of the event that leads the group, if there is one.
    """
    result: int = _libc.syscall(
        ctypes.c_long(_numbers["perf_event_open"]),
        ctypes.create_string_buffer(attr, len(attr)),
        ctypes.c_int(pid),
        ctypes.c_int(cpu),
        ctypes.c_int(group),
        ctypes.c_ulong(flags),
    )
    return _checked(result)


def openat2(directory: int, path: str, flags: int, resolve: int) -> int:
    """Call openat2(2), `resolve` being RESOLVE_* bits; returns a descriptor or raises OSError.

    Linux 5.6 and later (commit fddb5d430ad9); ENOSYS before.
    """
    how = struct.pack("<QQQ", flags, 0, resolve)
    result: int = _libc.syscall(
        # The same number on all machines.
        ctypes.c_long(437),
        ctypes.c_int(directory),
        ctypes.c_char_p(os.fsencode(path)),
        how,
        ctypes.c_size_t(len(how)),
    )
    return _checked(result)


def _checked(result: int) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result
