"""Counts of a recording by `perf stat record`, handed to a script's stat__* functions.

perf keeps the last count of each event, processor and thread, and at the end of an interval makes
differences and hands over all of them: perf_stat_process_counter in tools/perf/util/stat.c,
python_process_stat in tools/perf/util/scripting-engines/trace-event-python.c.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from ptrace_client.errors import ClientError
from ptrace_client.perf_data.model import RecordedEvent, Recording
from ptrace_client.perf_data.record_bodies import (
    CpuMap,
    Stat,
    StatConfig,
    StatRound,
    ThreadMap,
)
from ptrace_client.perf_script.script import PerfScript

# Tags of STAT_CONFIG, and of aggr_mode the one where there is a sum only.
_AGGREGATION: Final = 0
_SCALE: Final = 2
_GLOBAL: Final = 1
# What -1, any processor, is in a map's list.
_ANY_CPU: Final = 0xFFFF
# Threads times processors: either of them is 1 where perf stat counts by the other.
_MOST_COUNTS: Final = 1 << 18
_U64: Final = (1 << 64) - 1


class Count(NamedTuple):
    """A count, and for how long it was wanted and taken, in ns."""

    value: int
    enabled: int
    running: int

    def since(self, before: Count) -> Count:
        """Return the difference, as perf's u64 have it."""
        return Count(*(now - then & _U64 for now, then in zip(self, before, strict=True)))

    def plus(self, other: Count) -> Count:
        """Return the sum."""
        return Count(*(one + two & _U64 for one, two in zip(self, other, strict=True)))

    def scaled(self) -> Count:
        """Return what the count would be if it had been taken all the time."""
        if not self.running:
            return self._replace(value=0)
        if self.running < self.enabled:
            return self._replace(value=int(float(self.value) * self.enabled / self.running) & _U64)
        return self


_NONE: Final = Count(0, 0, 0)


class Statistics:
    """The counts of a recording, and which of them a script has got."""

    def __init__(self, recording: Recording, script: PerfScript) -> None:
        self._recording = recording
        self._script = script
        self._call = script.call
        self._aggregation = 0
        self._scale = False
        self._cpus: tuple[int, ...] | None = None
        self._threads: tuple[int, ...] | None = None
        # By event, cpu, place in the thread map; and as they were at the last round.
        self._counts: dict[tuple[int, int, int], Count] = {}
        self._before: dict[tuple[int, int, int], Count] = {}

    def take(self, body: CpuMap | ThreadMap | StatConfig | Stat | StatRound) -> None:
        """Take in a record; at the end of a round the script's functions are called."""
        if isinstance(body, CpuMap):
            if self._cpus is None:
                self._cpus = tuple(-1 if cpu == _ANY_CPU else cpu for cpu in body.cpus)
        elif isinstance(body, ThreadMap):
            if self._threads is None:
                self._threads = tuple(tid for tid, _ in body.threads)
        elif isinstance(body, StatConfig):
            terms = dict(body.terms)
            self._aggregation = terms.get(_AGGREGATION, self._aggregation)
            self._scale = bool(terms.get(_SCALE, self._scale))
        elif isinstance(body, Stat):
            self._count(body)
        else:
            self._round(body.time)

    def _count(self, stat: Stat) -> None:
        event = self._recording.event_of(stat.id)
        if event is not None and stat.cpu in (self._cpus or ()):
            place = event.index, stat.cpu, stat.thread
            self._counts[place] = Count(stat.value, stat.enabled, stat.running)

    def _round(self, time: int) -> None:
        for event in self._recording.events:
            name = "stat__" + event.name.replace(":", "_")
            if self._script.handler(name) is None:
                continue
            if self._aggregation == _GLOBAL:
                self._call(name, -1, -1, time, *self._sum(event))
            else:
                self._each(event, name, time)
        self._call("stat__interval", time)

    def _each(self, event: RecordedEvent, name: str, time: int) -> None:
        threads, cpus = self._threads or (), self._cpus or ()
        if len(threads) * len(cpus) > _MOST_COUNTS:
            raise ClientError(
                f"{self._recording.path}: counts of {len(threads)} threads on each of "
                f"{len(cpus)} processors are more than perf stat takes"
            )
        for place, thread in enumerate(threads):
            for cpu in cpus:
                self._call(name, cpu, thread, time, *self._one(event, cpu, place))

    def _sum(self, event: RecordedEvent) -> Count:
        total = _NONE
        for (index, _, _), count in self._counts.items():
            if index == event.index:
                total = total.plus(count)
        return self._finished((event.index, -1, -1), total)

    def _one(self, event: RecordedEvent, cpu: int, thread: int) -> Count:
        place = event.index, cpu, thread
        count = self._counts.get(place)
        if count is None:
            return _NONE
        # What was not counted anew goes on from its difference, as in perf.
        self._counts[place] = self._finished(place, count)
        return self._counts[place]

    def _finished(self, place: tuple[int, int, int], count: Count) -> Count:
        before = self._before.get(place, _NONE)
        self._before[place] = count
        difference = count.since(before)
        return difference.scaled() if self._scale else difference
