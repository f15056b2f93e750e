"""Whether a process has attached a BPF program to a tracepoint: bpf(2), BPF_TASK_FD_QUERY."""

from __future__ import annotations

import ctypes
import os
import platform
import time

_SYS_BPF = {"x86_64": 321, "aarch64": 280}
_BPF_TASK_FD_QUERY = 20
_NAME_BYTES = 128


class _Query(ctypes.Structure):
    """The part of union bpf_attr (include/uapi/linux/bpf.h) that this command uses."""

    _fields_ = (
        ("pid", ctypes.c_uint32),
        ("fd", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
        ("buf_len", ctypes.c_uint32),
        ("buf", ctypes.c_uint64),
        ("prog_id", ctypes.c_uint32),
        ("fd_type", ctypes.c_uint32),
        ("probe_offset", ctypes.c_uint64),
        ("probe_addr", ctypes.c_uint64),
    )


def tracepoints(pid: int) -> set[str]:
    """Names ("sys_enter_getppid") of tracepoints to which the process has attached programs."""
    libc = ctypes.CDLL(None, use_errno=True)
    names = set()
    for descriptor in _perf_events(pid):
        name = ctypes.create_string_buffer(_NAME_BYTES)
        query = _Query(pid=pid, fd=descriptor, buf_len=_NAME_BYTES, buf=ctypes.addressof(name))
        number = _SYS_BPF[platform.machine()]
        if libc.syscall(number, _BPF_TASK_FD_QUERY, ctypes.byref(query), ctypes.sizeof(query)) == 0:
            names.add(name.value.decode())
    return names


def wait_until_attached(pid: int, tracepoint: str, patience: float) -> None:
    """Wait until `tracepoint` has a program of the process.

    Raises TimeoutError after `patience` seconds. There is nothing to block on for this: the
    process is asked again and again, yielding the CPU to it.
    """
    deadline = time.monotonic() + patience
    while tracepoint not in tracepoints(pid):
        if time.monotonic() > deadline:
            raise TimeoutError(f"process {pid} does not attach to {tracepoint}")
        os.sched_yield()


def _perf_events(pid: int) -> list[int]:
    found = []
    try:
        for entry in os.scandir(f"/proc/{pid}/fd"):
            try:
                if os.readlink(entry.path) == "anon_inode:[perf_event]":
                    found.append(int(entry.name))
            except OSError:
                continue
    except OSError:
        return []
    return found
