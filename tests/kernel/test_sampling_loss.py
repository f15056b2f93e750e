"""Samples that a ring has no room for are counted, each of them."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from processes import Daemon
from sampled import PAGE, PAGES, Program, sampled

from ptrace_client.host import Host
from ptraced.ring_set import RingOptions
from ptraced.sampling import plan as plan_module
from ptraced.sampling.layout import lay_out_sample
from ptraced.sampling.plan import SamplingPlan
from ptraced.sampling.selector import find_sampled
from ptraced.sampling.source import SamplingSource
from ptraced.scope import Scope
from ptraced.stacks import StacksOf, StackTable
from ptraced.tracefs import Tracefs


@pytest.fixture
def host(daemon: Daemon) -> Iterator[Host]:
    with daemon.connect() as connected:
        yield connected


def test_each_lost_sample_is_counted(host: Host, program: Program) -> None:
    # GIVEN a ring of a page and a reader that is not woken before it is full
    region = f"addr >= {program.region} && addr < {program.region + PAGES * PAGE}"
    selector = f"page-faults/--filter '{region}'/"

    # WHEN a program makes faults faster than the reader comes by
    found, total = sampled(
        host,
        selector,
        lambda: program.do("t", 50_000),
        "addr",
        pid=program.pid,
        buffer_pages=1,
        watermark_percent=100,
    )

    # THEN each fault was delivered, or counted as lost
    assert total.lost.total() > 0
    assert len(found) + total.lost.total() == 50_000
    assert (total.end.totals[0].delivered, total.end.totals[0].lost) == (
        len(found),
        total.lost.total(),
    )


class NoFrames:
    """In place of the symbolizer; there are no stacks."""

    def stack(
        self,
        stack_id: int,
        tgid: int,
        time: int,
        kernel: bytes,
        user: bytes,
        uid: int,
        owner: int | None,
    ) -> None:
        raise AssertionError


@pytest.mark.needs_kernel("breakpoints")
def test_older_kernels_tell_of_lost_samples_when_there_is_room_again(
    program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    # GIVEN a breakpoint whose count of lost samples cannot be read
    monkeypatch.setattr(plan_module, "counts_lost", lambda: False)
    selector = f"breakpoint/{program.watched}/8:w/"
    options = selector.removeprefix("breakpoint/").removesuffix("/")
    format, origin, _ = find_sampled("breakpoint", options, selector, start=len("breakpoint/"))
    plan = SamplingPlan(format, origin, lay_out_sample(format, ("ip",)), Scope())
    source = SamplingSource(
        plan,
        None,
        RingOptions(1, 4096),
        Tracefs.find(),
        StacksOf(StackTable(NoFrames()), None),
        lambda tid: b"",
    )
    buffer = memoryview(bytearray(source.rings[0].size))

    def delivered() -> int:
        return sum(rows.count for ring in source.rings for rows in source.rows(ring, buffer))

    source.start()
    try:
        # WHEN it is hit more often than the ring has room for, and then again on each CPU
        program.do("w", 5_000)
        found = delivered()
        assert found < 5_000
        for cpu in range(os.cpu_count() or 1):
            os.sched_setaffinity(program.pid, {cpu})
            program.do("w", 1)
            found += delivered()
        lost = sum(lost.count for lost in source.lost())
    finally:
        source.close()

    # THEN each hit was delivered, or is counted as lost
    assert found + lost == 5_000 + (os.cpu_count() or 1)
