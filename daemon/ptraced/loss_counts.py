"""Counts of failed submits: the kernel counts in memory that it shares with us."""

from __future__ import annotations

import mmap
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class LostEvents:
    """Submits of an event that failed on a CPU since they were last asked for."""

    event: int
    cpu: int
    count: int


class LossCounts:
    """The mapped map `lost` of a module: a counter per event and CPU, in this order."""

    def __init__(self, memory: mmap.mmap, cpus: int) -> None:
        self._cpus = cpus
        self._counts = np.frombuffer(memory, np.uint64)
        self._seen = self._counts.copy()

    def new(self) -> list[LostEvents]:
        """What was counted since the last call. Costs no system call."""
        counts = self._counts.copy()
        difference = counts - self._seen
        self._seen = counts
        return [
            LostEvents(int(slot) // self._cpus, int(slot) % self._cpus, int(difference[slot]))
            for slot in difference.nonzero()[0]
        ]
