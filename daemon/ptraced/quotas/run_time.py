"""The time that BPF programs take, which they measure themselves (bpf/cost.c).

The kernel's own count (sysctl kernel.bpf_stats_enabled) takes CAP_SYS_ADMIN.
"""

from __future__ import annotations

import mmap
import threading

import numpy as np

# A run in so many is measured: no power of two, or one of two events that take turns never was.
MEASURED_EVERY = 61
# What it takes to get to a program by a breakpoint in a user program and back, ns, where a
# function begins and where it returns: a call of an empty function took so much longer with a
# program that ends at once (kernel 6.18 in a virtual machine, Xeon, CPU time, least of five runs of
# 200,000 calls). Without a virtual machine it is less.
TRAP_NS, RETURN_TRAP_NS = 3_700, 9_200

# Words of struct cost: left, runs, measured, ns.
_WORDS = 8
_RUNS, _MEASURED, _NS = 1, 2, 3


class RunTime:
    """The mapped map `costs` of a module; `entry_ns` is what a run takes besides its program."""

    def __init__(self, memory: mmap.mmap, cpus: int, entry_ns: int = 0) -> None:
        self._counts = np.frombuffer(memory, np.uint64)[: cpus * _WORDS].reshape(cpus, _WORDS)
        self._entry_ns = entry_ns
        self._seen = [0, 0, 0]
        self._mean = 0.0
        self._total = 0.0
        self._lock = threading.Lock()

    def total(self) -> int:
        """All time until now on all CPUs, ns; grows. Costs no system call."""
        with self._lock:
            sums = [int(self._counts[:, word].sum()) for word in (_RUNS, _MEASURED, _NS)]
            runs, measured, ns = (now - seen for now, seen in zip(sums, self._seen, strict=True))
            self._seen = sums
            if measured:
                self._mean = ns / measured
            self._total += runs * (self._mean + self._entry_ns)
            return int(self._total)
