"""What an event comes from: how its programs are attached, and how they get at its fields.

Programs of tracepoints are handed the kernel's record. Those of probes and of sampled
events put a record together first, an array of 64-bit words, and from there on
filters and rows are the same for all.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from ptraced.pins import Pin

# Systems of the events that probes of files have: what they see is the program's.
USER_PROBES = ("uprobe", "uretprobe", "usdt")


@dataclass(frozen=True, slots=True)
class Tracepoint:
    """A tracepoint; EventFormat.id is what it is attached by."""


class ProbedFile:
    """A regular file that user probes go into, opened once and held until they are attached.

    `path` is what the user called it, `owner` the uid whose it is. Equal are those of the same
    unchanged file.
    """

    def __init__(self, fd: int, path: str) -> None:
        status = os.fstat(fd)
        self.fd = fd
        self.path = path
        self.owner = status.st_uid
        # Owners set st_mtime as they like, but not st_ctime.
        times = (status.st_mtime_ns, status.st_ctime_ns)
        self.identity = (status.st_dev, status.st_ino, status.st_size, *times)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ProbedFile) and self.identity == other.identity

    def __hash__(self) -> int:
        return hash(self.identity)

    def __del__(self) -> None:
        os.close(self.fd)


@dataclass(frozen=True, slots=True)
class Site:
    """A place that is probed, and how the record is made there.

    In the kernel it is `symbol` + `offset` bytes, or the address `offset` where `symbol` is
    empty. In a file it is `offset` bytes from its start, and `semaphore` that of the counter
    that tells a program of its USDT probe's users (0: none). `record` is C that fills
    `u64 record[]` from `struct pt_regs *regs`; it is made of numbers and our own words only.
    """

    offset: int
    record: str
    symbol: str = ""
    semaphore: int = 0


@dataclass(frozen=True, slots=True)
class Probe:
    """A kprobe (`file` is None) or a probe of a file; `returns` for those of returns.

    Where a file has `processes`, no others get its breakpoints.
    """

    returns: bool
    sites: tuple[Site, ...]
    file: ProbedFile | None = None
    processes: tuple[Pin, ...] = ()

    @property
    def breakpoints(self) -> int:
        """How many are made by us: each place, in each of the processes."""
        return len(self.sites) * max(len(self.processes), 1)


@dataclass(frozen=True, slots=True)
class Sampled:
    """A perf event that samples; see perf_event_open(2) for the units of what is in here.

    `counter` is the name of what is counted. `frequency` is in Hz, or 0 where `period` counts.
    `flags` are those bits of struct perf_event_attr that exclude contexts (exclude_user, ...),
    `breakpoint` is its bp_type, `user_stack_bytes` the size of copies of the user's stack. Those
    of the `group` only count, and are read with each sample.
    """

    type: int
    config: int
    counter: str
    config1: int = 0
    config2: int = 0
    breakpoint: int = 0
    frequency: int = 0
    period: int = 0
    flags: int = 0
    user_stack_bytes: int = 8192
    group: tuple[Sampled, ...] = ()


Origin = Tracepoint | Probe | Sampled
