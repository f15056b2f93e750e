"""Samples with the counts of a whole group: each count is handed over as a sample of its event.

The period of such a sample is what the count grew by; what did not grow is left out
(deliver_sample_group and deliver_sample_value in tools/perf/util/session.c).
"""

from __future__ import annotations

from collections.abc import Callable

from ptrace_client.perf_data.model import Buffer, RecordedEvent, Recording, Sample, Sink

# Makes the sink of an event for records of the layout of another one; what it is given in
# place of the other's layout.sample() has the sample ready.
MakeSink = Callable[[RecordedEvent, RecordedEvent, Callable[[], Sample]], Sink]

_U64 = (1 << 64) - 1


class ReadGroups:
    """What the counts of a recording were last, by id."""

    def __init__(self, recording: Recording, make_sink: MakeSink) -> None:
        self._recording = recording
        self._make_sink = make_sink
        self._before: dict[int, int] = {}
        # By the event that was sampled and the one that is told of it.
        self._sinks: dict[tuple[int, int], Sink] = {}
        self._sample: Sample | None = None

    def sink(self, sampled: RecordedEvent) -> Sink:
        """Return what takes the samples of an event that have PERF_SAMPLE_READ."""
        parse = sampled.layout.sample

        def sink(data: Buffer, start: int, end: int, misc: int, time: int) -> None:
            sample = parse(data, start, end, misc)
            for counter in sample.values:
                event = self._recording.event_of(counter.id)
                if event is None:
                    continue
                period = counter.value - self._before.get(counter.id, 0) & _U64
                self._before[counter.id] = counter.value
                if period:
                    sample.id, sample.period, sample.event = counter.id, period, event
                    self._sample = sample
                    self._sink_of(sampled, event)(data, start, end, misc, time)

        return sink

    def _sink_of(self, sampled: RecordedEvent, event: RecordedEvent) -> Sink:
        key = sampled.index, event.index
        if key not in self._sinks:
            self._sinks[key] = self._make_sink(sampled, event, self._current)
        return self._sinks[key]

    def _current(self) -> Sample:
        assert self._sample is not None
        return self._sample
