"""Selectors of sampled events, on a kernel that has and refuses what a test says."""

from __future__ import annotations

import os

import pytest

from ptraced.errors import TraceError
from ptraced.origin import Sampled
from ptraced.sampling.selector import SampledOptions, find_sampled

SETTINGS = {"perf_event_max_sample_rate": 100_000, "perf_event_max_stack": 100}


class SamplingKernel:
    """Stands in for the kernel: has a PMU or none, and may refuse events."""

    def __init__(self) -> None:
        self.hardware = False
        self.refusal = 0
        self.count_refusal = 0

    def try_open(self, origin: Sampled, sample_type: int = 0) -> None:
        if self.refusal:
            raise OSError(self.refusal, os.strerror(self.refusal))

    def try_count(self, origin: Sampled) -> None:
        if self.count_refusal:
            raise OSError(self.count_refusal, os.strerror(self.count_refusal))


def find(event: str, options: str = "") -> tuple[str, Sampled, SampledOptions]:
    text = f"{event}/{options}/" if options else event
    format, origin, found = find_sampled(event, options, text, start=len(event) + 1)
    assert format.system == ""
    return format.name, origin, found


def refused(event: str, options: str = "", error: type[TraceError] = TraceError) -> str:
    with pytest.raises(TraceError) as caught:
        find(event, options)
    assert type(caught.value) is error
    return str(caught.value)
