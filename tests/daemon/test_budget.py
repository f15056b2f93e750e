"""Who costs the host more BPF run time than its budget, and which session has to end for it."""

from __future__ import annotations

import mmap
import struct

import pytest

from ptraced.errors import LimitExceeded
from ptraced.policy.grant import Quota
from ptraced.quotas.budget import Budget
from ptraced.quotas.run_time import RunTime

ANN, BEN = 1000, 1001
MS = 1_000_000
SECOND = 1000 * MS


def budget(total: Quota | None = None) -> Budget[str]:
    made: Budget[str] = Budget(lambda: total or Quota(), 0)
    made.allow(ANN, 10)
    made.allow(BEN, None)
    return made


def test_the_costliest_session_of_who_is_over_budget_ends() -> None:
    made = budget()
    made.note(ANN, "cheap", 200 * MS)
    made.note(ANN, "dear", 400 * MS)
    made.note(BEN, "unlimited", 4 * SECOND)

    assert made.overdrawn(4 * SECOND) == []
    assert made.overdrawn(5 * SECOND) == [
        (
            "dear",
            "the BPF programs of your sessions took 12.00 % of a CPU over 5 s, and your budget is "
            "10 %; this session took the most of it, 8.00 %",
        )
    ]
    # The others have a window of their own.
    made.note(ANN, "cheap", 200 * MS)
    assert made.overdrawn(10 * SECOND) == []


def test_a_burst_that_is_within_the_budget_on_average_may_be() -> None:
    made = budget()
    made.note(ANN, "burst", 490 * MS)
    assert made.overdrawn(5 * SECOND) == []


def test_a_budget_holds_for_who_begins_windows_later() -> None:
    made = budget()
    assert made.overdrawn(5 * SECOND) == []
    assert made.overdrawn(10 * SECOND) == []
    made.note(ANN, "late", 1 * SECOND)
    assert [session for session, _ in made.overdrawn(15 * SECOND)] == ["late"]


def test_of_the_host_s_budget_the_costliest_user_has_to_give() -> None:
    made = budget(Quota(cpu_percent=50))
    made.note(ANN, "a", 400 * MS)
    made.note(BEN, "b", 3 * SECOND)
    ((session, text),) = made.overdrawn(5 * SECOND)
    assert session == "b"
    assert "the host's budget for all users is 50 %" in text


def test_sessions_that_are_over_count_and_who_opens_one_after_the_other_has_to_wait() -> None:
    time = [0]
    made: Budget[str] = Budget(lambda: Quota(), 0, clock=lambda: time[0])
    made.allow(ANN, 10)
    made.note(ANN, "dear", 1000 * MS)
    made.gone(ANN, "dear")
    made.note(ANN, "cheap", 1 * MS)
    made.check(ANN)

    time[0] = 5 * SECOND
    # What is over cannot be ended, and the one that is there is within the budget.
    assert made.overdrawn(5 * SECOND) == []
    with pytest.raises(LimitExceeded, match="than your budget; come again in 6 s"):
        made.check(ANN)
    made.check(BEN)
    time[0] = 11 * SECOND
    made.check(ANN)


def test_who_has_no_session_any_more_has_to_wait_too() -> None:
    made = budget()
    made.note(ANN, "short", 4 * SECOND)
    made.gone(ANN, "short")
    assert made.overdrawn(5 * SECOND) == []
    with pytest.raises(LimitExceeded):
        made.check(ANN)


def memory(*cpus: tuple[int, int, int]) -> mmap.mmap:
    page = mmap.mmap(-1, mmap.PAGESIZE)
    page.write(b"".join(struct.pack("<8Q", 0, *cpu, 0, 0, 0, 0) for cpu in cpus))
    return page


@pytest.mark.parametrize("entry", [0, 1000])
def test_run_time_is_that_of_the_measured_runs_for_all(entry: int) -> None:
    page = memory((610, 10, 5_000), (0, 0, 0))
    run_time = RunTime(page, 2, entry)
    assert run_time.total() == 610 * (500 + entry)

    # Of runs none of which was measured the time is taken to be as before.
    page.seek(0)
    page.write(struct.pack("<3Q", 0, 620, 10))
    assert run_time.total() == 620 * (500 + entry)
