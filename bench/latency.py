"""How long an event takes from the kernel to its handler, at a moderate rate."""

from __future__ import annotations

from dataclasses import dataclass

from measure import watch
from producer import Producer
from tool import Tool

RATE = 1000


@dataclass(frozen=True)
class Latency:
    """Percentiles of delivery latency, seconds.

    `held` says that the tool delivered nothing before the producer's end, so that the numbers
    tell of the run's length and not of the tool.
    """

    p50: float
    p99: float
    held: bool


def measure_latency(tool: Tool, producer: Producer, seconds: float) -> Latency:
    """Measure over a run of `seconds` at RATE events a second."""
    _, summary = watch(tool.start(), lambda: producer.paced(int(RATE * seconds), RATE))
    delays = sorted(delay / 1e9 for delay in summary.facts["delays"])
    return Latency(
        p50=delays[len(delays) // 2],
        p99=delays[len(delays) * 99 // 100],
        held=delays[-1] >= seconds,
    )
