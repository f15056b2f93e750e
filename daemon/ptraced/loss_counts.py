"""Counts of hits that were not submitted, or not with success: in memory shared with the kernel."""

from __future__ import annotations

import mmap
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class LostEvents:
    """Hits of an event on a CPU that were lost since they were last asked for."""

    event: int
    cpu: int
    count: int


class LossCounts:
    """A mapped map with a counter per event and CPU: at event * `stride` + cpu.

    With `cpus_first` it is at cpu * `stride` + event.
    """

    def __init__(self, memory: mmap.mmap, stride: int, *, cpus_first: bool = False) -> None:
        self._stride = stride
        self._cpus_first = cpus_first
        self._counts = np.frombuffer(memory, np.uint64)
        self._seen = self._counts.copy()

    def new(self) -> list[LostEvents]:
        """What was counted since the last call. Costs no system call."""
        counts = self._counts.copy()
        difference = counts - self._seen
        self._seen = counts
        found = []
        for slot in difference.nonzero()[0]:
            event, cpu = divmod(int(slot), self._stride)
            if self._cpus_first:
                event, cpu = cpu, event
            found.append(LostEvents(event, cpu, int(difference[slot])))
        return found
