"""Losses: what is counted, and what the user gets to see of it."""

from __future__ import annotations

import pytest
from event_samples import make_loss

from ptrace_client.losses import Gap, Losses
from ptrace_proto import ptrace_pb2 as pb


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_losses_are_told_at_most_once_a_second(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    losses = Losses(quiet=False, clock=clock)
    losses.add(make_loss(1))
    assert capsys.readouterr().err == "ptrace-client: lost 1 event (1 in all)\n"
    clock.now += 0.9
    losses.add(make_loss(5))
    assert capsys.readouterr().err == ""
    clock.now += 0.1
    losses.add(make_loss(2))
    assert capsys.readouterr().err == "ptrace-client: lost 7 events (8 in all)\n"
    losses.add(make_loss(3))
    losses.report()
    losses.report()
    assert capsys.readouterr().err == "ptrace-client: lost 3 events (11 in all)\n"


def test_throttling_is_told_when_it_begins_and_ends_and_at_most_once_a_second(
    capsys: pytest.CaptureFixture[str],
) -> None:
    losses = Losses(quiet=False)
    second = 1_000_000_000

    def told(started: bool, time: float) -> str:
        reason = "over 100 events\x1b per second" if started else ""
        throttle = pb.Throttle(started=started, time=round(time * second), reason=reason)
        losses.throttle(throttle)
        return capsys.readouterr().err

    assert told(True, 5) == "ptrace-client: throttled: over 100 events\\x1b per second\n"
    assert told(False, 5.25) == "ptrace-client: no longer throttled, after 250 ms\n"
    assert told(True, 5.9) == ""
    assert told(False, 5.95) == ""
    assert told(True, 6) != ""
    assert told(False, 8) == "ptrace-client: no longer throttled, after 2000 ms\n"


def test_what_was_throttled_is_lost_as_all_else(capsys: pytest.CaptureFixture[str]) -> None:
    losses = Losses(quiet=False)
    assert losses.add(make_loss(4, stage=pb.LOSS_STAGE_THROTTLED))
    assert capsys.readouterr().err == "ptrace-client: lost 4 events (4 in all)\n"
    assert losses.summary() == "lost 4 (throttled: 4)"


def test_quiet_counts_in_silence(capsys: pytest.CaptureFixture[str]) -> None:
    losses = Losses(quiet=True)
    losses.add(make_loss(4))
    losses.report()
    assert losses.total == 4
    assert capsys.readouterr().err == ""


def test_what_the_kernel_skipped_is_only_in_the_summary(capsys: pytest.CaptureFixture[str]) -> None:
    losses = Losses(quiet=False)
    assert losses.summary() == "lost 0"
    assert not losses.add(make_loss(9, stage=pb.LOSS_STAGE_SKIPPED, cpu=-1))
    assert losses.total == 0
    assert capsys.readouterr().err == ""
    assert losses.add(make_loss(4))
    assert losses.add(make_loss(3, stage=pb.LOSS_STAGE_QUEUE))
    assert losses.summary() == (
        "lost 7 (kernel buffer full: 4, client too slow: 3, skipped by the kernel, at most: 9)"
    )


def test_a_gap_is_handed_out_once_per_event_and_cpu() -> None:
    losses = Losses(quiet=True)
    losses.add(make_loss(2, 50, 60))
    losses.add(make_loss(3, 40, 55))
    losses.add(make_loss(7, 1, 2, cpu=1))
    losses.add(make_loss(8, 3, 4, schema_id=2))
    assert losses.take_gap(1, 0) == Gap(count=5, start=40, end=60)
    assert losses.take_gap(1, 0) == Gap()
    assert losses.take_gap(1, 1) == Gap(count=7, start=1, end=2)
    assert losses.take_gap(2, 0) == Gap(count=8, start=3, end=4)
