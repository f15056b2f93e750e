"""When __interval__ is due."""

from __future__ import annotations

from ptrace_client.interval import GRACE, Ticker


def test_a_mark_at_or_behind_the_tick_fires_it() -> None:
    ticker = Ticker(interval=100, now=1000)
    assert not ticker.marked(1099)
    assert ticker.marked(1100)
    assert not ticker.marked(1199)
    assert ticker.marked(1250)
    assert ticker.due == 1300


def test_missed_ticks_are_left_out_and_the_rhythm_is_kept() -> None:
    ticker = Ticker(interval=100, now=1000)
    assert ticker.marked(1730)
    assert ticker.due == 1800
    assert not ticker.marked(1799)


def test_a_tick_fires_without_marks_when_nothing_arrives() -> None:
    ticker = Ticker(interval=100, now=1000)
    assert ticker.wait(1000) == 100 + GRACE
    assert ticker.wait(5000) == GRACE
    assert not ticker.idle(1099 + GRACE)
    assert ticker.idle(1100 + GRACE)
    assert not ticker.idle(1101 + GRACE)
    assert not ticker.marked(1200)
