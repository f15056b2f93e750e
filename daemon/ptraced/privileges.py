"""What this process may do: its capabilities, and its resource limits."""

from __future__ import annotations

import ctypes
import enum
import os
import resource
from collections.abc import Iterable
from pathlib import Path

# capset(2), version 3: effective, permitted and inheritable, the lower 32 of each first.
_CAPABILITY_VERSION = 0x20080522


class Capability(enum.IntEnum):
    """Capabilities that matter here; include/uapi/linux/capability.h."""

    CAP_DAC_READ_SEARCH = 2
    CAP_IPC_LOCK = 14
    CAP_SYS_PTRACE = 19
    CAP_SYS_ADMIN = 21
    CAP_SYS_RESOURCE = 24
    CAP_PERFMON = 38
    CAP_BPF = 39


# All that the daemon needs: BPF programs, their attachment, tracefs without its mode.
NEEDED = (Capability.CAP_BPF, Capability.CAP_PERFMON, Capability.CAP_DAC_READ_SEARCH)

# For these the kernel takes CAP_SYS_ADMIN too: bpf_capable() and perfmon_capable().
_PARTS_OF_SYS_ADMIN = (Capability.CAP_BPF, Capability.CAP_PERFMON)


def effective(status: Path = Path("/proc/thread-self/status")) -> int:
    """The effective capabilities of this thread as a bit mask."""
    for line in status.read_text().splitlines():
        if line.startswith("CapEff:"):
            return int(line.split()[1], 16)
    return 0


def has(capability: Capability, mask: int | None = None) -> bool:
    """Whether this process, or one with the capabilities `mask`, may do what one permits."""
    if mask is None:
        mask = effective()
    if capability in _PARTS_OF_SYS_ADMIN and mask >> Capability.CAP_SYS_ADMIN & 1:
        return True
    return bool(mask >> capability & 1)


def keep_capabilities(keep: Iterable[Capability] = ()) -> None:
    """Give up all capabilities of the calling thread but those of `keep` that it holds."""
    kept = effective() & sum(1 << capability for capability in keep)
    low, high = kept & 0xFFFFFFFF, kept >> 32
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION, 0)
    sets = (ctypes.c_uint32 * 6)(low, low, 0, high, high, 0)
    if ctypes.CDLL(None, use_errno=True).capset(header, sets):
        number = ctypes.get_errno()
        raise OSError(number, f"capabilities cannot be given up: {os.strerror(number)}")


def raise_limits() -> None:
    """Raise the soft limits of open files and locked memory as far as they go.

    A session holds descriptors per event and CPU; kernels before 5.11 count BPF maps as
    locked memory (commit d5299b67dd59).
    """
    for limit in (resource.RLIMIT_NOFILE, resource.RLIMIT_MEMLOCK):
        _, hard = resource.getrlimit(limit)
        resource.setrlimit(limit, (hard, hard))
    if has(Capability.CAP_SYS_RESOURCE):
        unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
        resource.setrlimit(resource.RLIMIT_MEMLOCK, unlimited)
