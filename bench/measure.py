"""One run of one tool on the producer, and the search for the rate that it keeps up with."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from processes import Account
from producer import Produced, Producer
from tool import Run, Summary, Tool

# A paced run lasts so long, seconds: many times what any tool's buffers can hide.
PACED_SECONDS = 1.0
# Between two rates that are tried, and how often each is.
STEP = 0.8
TRIES = 2


@dataclass(frozen=True)
class Measurement:
    """What one run of a tool has cost.

    `calls` were made in `call_ns` each, of which `delivered` reached the handler, the last
    one `seconds` after the first call. `cpu_seconds` are those of all the tool's processes from
    then to their end, `peak_bytes` the sum of their largest resident sizes.
    """

    calls: int
    call_ns: float
    delivered: int
    seconds: float
    cpu_seconds: float
    peak_bytes: int

    @property
    def lost(self) -> int:
        """Events that did not reach the handler."""
        return max(self.calls - self.delivered, 0)

    @property
    def rate(self) -> float:
        """Events delivered in a second."""
        return self.delivered / self.seconds

    @property
    def cpu_per_million(self) -> float:
        """CPU seconds that a million delivered events cost."""
        return self.cpu_seconds / max(self.delivered, 1) * 1e6


@dataclass(frozen=True)
class Result:
    """A tool in one round: at full speed, and in the fastest run found without loss."""

    full: Measurement
    lossless: Measurement


def watch(run: Run, produce: Callable[[], Produced]) -> tuple[Measurement, Summary]:
    """Run the producer under a tool that has been started, to the end of both."""
    with run:
        run.wait_until_traced()
        account = Account(run.pids())
        started = time.monotonic_ns()
        produced = produce()
        run.finish(account)
        summary = run.summary()
    # Where a tool cannot tell when it was done, its buffers are small beside what was produced.
    done = summary.facts.get("done", 0) - started
    measurement = Measurement(
        calls=produced.calls,
        call_ns=produced.ns / produced.calls,
        delivered=summary.count,
        seconds=max(produced.ns, done) / 1e9,
        cpu_seconds=account.cpu_seconds(),
        peak_bytes=account.peak_bytes(),
    )
    return measurement, summary


def measure(tool: Tool, producer: Producer, hint: float | None) -> Result:
    """Run a tool at full speed and, if that loses events, slower and slower until it does not.

    `hint` is the best rate, events a second, at which earlier rounds found no loss.
    """
    full, _ = watch(tool.start(), lambda: producer.calls(tool.calls))
    if not full.lost:
        return Result(full, full)
    if hint is None:
        # What it could do if all of its CPU time went into events.
        hint = 1e6 / full.cpu_per_million
    rate = min(hint / STEP, 1e9 / full.call_ns)
    while True:
        # Twice, as the tool need not be to blame for one hiccup of the machine.
        for _ in range(TRIES):
            paced = _paced(tool, producer, rate)
            if not paced.lost:
                return Result(full, paced)
        rate *= STEP


def _paced(tool: Tool, producer: Producer, rate: float) -> Measurement:
    count = int(rate * PACED_SECONDS)
    measurement, _ = watch(tool.start(), lambda: producer.paced(count, rate))
    return measurement
