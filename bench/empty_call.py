"""The yardstick: an empty Python function called once per event.

In the form of the plainest dispatcher: events that are there already, in a list of a batch's
length, and a loop that calls a function with each. A loop over range() would charge the
yardstick for numbers that it has to make.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

# Events in a batch at full speed, about.
_BATCH = 10_000


def empty(event: object) -> None:
    """Do nothing, as the least that a handler can."""


def dispatch(handler: Callable[[object], None], events: Iterable[object]) -> None:
    """Call the handler for each event."""
    for event in events:
        handler(event)


def cpu_per_million(calls: int) -> float:
    """CPU seconds of a million calls, from about `calls` of them."""
    events = [object() for _ in range(_BATCH)]
    batches = max(1, calls // _BATCH)
    started = time.process_time_ns()
    for _ in range(batches):
        dispatch(empty, events)
    return (time.process_time_ns() - started) / (batches * _BATCH) / 1e3
