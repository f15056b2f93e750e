"""Which records of tasks a caller gets, by what /proc says of the processes then."""

from __future__ import annotations

import os

import pytest

from ptraced.identity import Caller
from ptraced.policy.task_rights import TaskRights
from ptraced.policy.task_view import TaskView
from ptraced.task_records import Comm, Exit, Fork, Lost, Mmap2, TaskRecord

ANN = Caller(64101, 64101)
MINE, THEIRS, OTHER, GONE = 10, 20, 21, 30


class Proc:
    """Whose the processes are that run; those that are not named have ended."""

    def __init__(self) -> None:
        self.owners = {MINE: ANN.uid, THEIRS: 0, OTHER: 0}

    def owns(self, pid: int, caller: Caller) -> bool:
        if pid not in self.owners:
            raise FileNotFoundError
        return self.owners[pid] == caller.uid


@pytest.fixture
def proc() -> Proc:
    return Proc()


def view(proc: Proc, *processes: int, everyone: bool = False, memory: bool = False) -> TaskView:
    rights = TaskRights(ANN, everyone, memory, frozenset() if everyone else frozenset((1,)))
    return TaskView(rights, processes, proc.owns)


def started(pid: int, time: int, name: bytes = b"x") -> Comm:
    return Comm(pid, pid, name, True, time)


def named(pid: int, time: int, name: bytes = b"x") -> Comm:
    return Comm(pid, pid, name, False, time)


def mapped(pid: int, time: int, path: str = "/bin/x") -> Mmap2:
    return Mmap2(pid, pid, 4096, 4096, 0, path, None, (1, 2), time)


def forked(pid: int, parent: int, time: int) -> Fork:
    return Fork(pid, parent, pid, parent, time)


def ended(pid: int, time: int) -> Exit:
    return Exit(pid, 1, pid, 1, time)


def test_under_own_only_own_tasks_are_told_of(proc: Proc) -> None:
    mine: list[TaskRecord] = [named(MINE, 1), mapped(MINE, 2)]
    theirs: list[TaskRecord] = [named(THEIRS, 3), mapped(THEIRS, 4), forked(OTHER, THEIRS, 5)]
    theirs += [ended(THEIRS, 6)]

    assert view(proc).admit([*theirs, *mine]) == mine


def test_of_everyone_names_are_told_and_memory_where_stacks_tell_it(proc: Proc) -> None:
    records: list[TaskRecord] = [named(THEIRS, 1), mapped(THEIRS, 2), ended(THEIRS, 3)]
    own = mapped(MINE, 4)

    assert view(proc, everyone=True, memory=True).admit([*records, own]) == [*records, own]
    assert view(proc, everyone=True).admit([*records, own]) == [records[0], records[2], own]


def test_records_come_in_the_order_of_time_whichever_ring_they_are_from(proc: Proc) -> None:
    assert view(proc).admit([mapped(MINE, 9), named(MINE, 3)]) == [named(MINE, 3), mapped(MINE, 9)]


def test_what_is_lost_is_told_to_everybody(proc: Proc) -> None:
    assert view(proc).admit([Lost(3)]) == [Lost(3)]


def test_programs_before_the_one_that_is_the_callers_are_not_told_of(proc: Proc) -> None:
    """su, sudo: another's program that starts one of the caller's in the same process."""
    before = [started(MINE, 1, b"sudo"), mapped(MINE, 2, "/secret")]
    after = [started(MINE, 3, b"sh"), mapped(MINE, 4)]

    assert view(proc).admit([*before, *after]) == after


def test_what_came_before_a_program_of_the_callers_is_not_told_as_its(proc: Proc) -> None:
    after = [started(MINE, 3, b"sh"), mapped(MINE, 4)]

    assert view(proc).admit([mapped(MINE, 2, "/secret"), *after]) == after


def test_a_process_that_ended_as_another_program_is_not_told_of_later(proc: Proc) -> None:
    seen = view(proc)
    assert seen.admit([named(MINE, 1)])
    del proc.owners[MINE]
    child = [forked(GONE, MINE, 3), mapped(GONE, 4, "/secret")]
    assert seen.admit([started(MINE, 2, b"sudo"), *child]) == []

    assert seen.admit([mapped(MINE, 5, "/secret"), forked(GONE, MINE, 6)]) == []


def test_a_program_of_another_is_not_told_of_although_the_one_before_was_the_callers(
    proc: Proc,
) -> None:
    seen = view(proc)
    assert seen.admit([named(MINE, 1)])
    proc.owners[MINE] = 0

    assert seen.admit([started(MINE, 2, b"sudo"), mapped(MINE, 3), ended(MINE, 4)]) == []
    assert list(seen.prove(MINE, 5)) == []


def test_a_program_that_hid_itself_is_not_told_of_any_more(proc: Proc) -> None:
    """prctl(PR_SET_DUMPABLE)"""
    seen = view(proc)
    assert seen.admit([started(MINE, 1)])
    proc.owners[MINE] = 0

    assert seen.admit([mapped(MINE, 2, "/secret")]) == []


def test_children_have_the_program_of_their_parent_until_they_start_another(proc: Proc) -> None:
    seen = view(proc)
    seen.admit([named(MINE, 1)])
    child: list[TaskRecord] = [forked(GONE, MINE, 2), mapped(GONE, 3)]

    assert seen.admit(child) == child
    assert seen.admit([started(GONE, 4, b"sudo"), mapped(GONE, 5, "/secret")]) == []


def test_an_event_proves_whose_a_program_was_that_has_ended(proc: Proc) -> None:
    seen = view(proc)
    life: list[TaskRecord] = [started(GONE, 10, b"ls"), mapped(GONE, 11), ended(GONE, 20)]

    assert seen.admit(life) == []
    assert seen.withheld == {GONE}
    assert list(seen.prove(GONE, 9)) == []
    assert list(seen.prove(GONE, 21)) == []
    assert list(seen.prove(GONE, 15)) == life
    assert list(seen.prove(GONE, 16)) == []


def test_a_process_that_nobody_has_waited_for_yet_counts_as_ended() -> None:
    somebody = Caller(os.getuid() + 1, os.getgid() + 1)
    child = os.posix_spawn("/bin/true", ["true"], {})
    os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
    seen = TaskView(TaskRights(somebody, False, False, frozenset((1,))))

    assert seen.admit([started(child, 10)]) == []
    assert list(seen.prove(child, 15)) == [started(child, 10)]
    os.waitpid(child, 0)


def test_nothing_is_withheld_of_who_still_runs_as_another(proc: Proc) -> None:
    seen = view(proc)
    seen.admit([started(THEIRS, 1), mapped(THEIRS, 2)])

    assert not seen.withheld


def test_what_is_withheld_is_bounded(proc: Proc) -> None:
    seen = view(proc)
    for pid in range(1000, 3000):
        seen.admit([started(pid, 1)])

    assert list(seen.prove(1000, 2)) == []
    assert list(seen.prove(2999, 2)) == [started(2999, 1)]


def test_what_nothing_proves_is_let_go_of_after_some_seconds(proc: Proc) -> None:
    seen = view(proc)
    seen.admit([started(GONE, 10)])
    seen.admit([named(MINE, 4_000_000_000)])
    assert seen.withheld == {GONE}
    seen.admit([named(MINE, 6_000_000_000)])

    assert not seen.withheld


def test_only_processes_in_scope_and_what_they_start_are_told_of(proc: Proc) -> None:
    proc.owners[11] = proc.owners[12] = ANN.uid
    seen = view(proc, MINE)
    fork = forked(11, MINE, 1)

    assert seen.admit([fork, named(11, 2), named(12, 3)]) == [fork, named(11, 2)]
    assert seen.allows(MINE)
    assert not seen.allows(12)


def test_processes_that_run_are_looked_at_anew(proc: Proc) -> None:
    seen = view(proc)
    assert (seen.allows(MINE), seen.allows(THEIRS), seen.allows(GONE)) == (True, False, False)
    proc.owners[MINE] = 0

    assert not seen.allows(MINE)
    assert not seen.allows_memory(MINE)


def test_programs_before_the_one_that_was_looked_at_at_the_start_are_not_told_of(
    proc: Proc,
) -> None:
    seen = view(proc)
    assert seen.allows(MINE)
    before: list[TaskRecord] = [named(MINE, 1, b"secret"), mapped(MINE, 2, "/secret")]
    after: list[TaskRecord] = [started(MINE, 3), mapped(MINE, 4)]

    assert seen.admit([*before, *after]) == after


def test_a_number_is_another_process_from_a_fork_on(proc: Proc) -> None:
    seen = view(proc)
    assert seen.allows(MINE)
    before: list[TaskRecord] = [named(MINE, 1, b"secret"), ended(MINE, 2)]
    after: list[TaskRecord] = [forked(MINE, OTHER, 3), mapped(MINE, 4)]

    assert seen.admit([*before, *after]) == after


def test_programs_that_start_while_it_is_looked_at_are_not_what_the_records_are_of(
    proc: Proc,
) -> None:
    """One of another's that makes itself one of the caller's, faster than the records come."""
    records: list[TaskRecord] = [started(MINE, 1, b"sudo"), mapped(MINE, 2, "/secret")]
    forks: list[TaskRecord] = [forked(MINE, THEIRS, 1), named(MINE, 2)]

    assert view(proc).admit(records, lambda: [started(MINE, 3)]) == []
    assert view(proc).admit(forks, lambda: [started(MINE, 3)]) == []
    assert view(proc).admit(records, lambda: [Lost(1)]) == []
    assert view(proc).admit(records, lambda: [started(OTHER, 3)]) == records


def test_behind_a_gap_nothing_is_told_of_programs_from_before_it(proc: Proc) -> None:
    seen = view(proc)
    assert seen.admit([named(MINE, 1)])
    seen.admit([started(GONE, 2), ended(GONE, 3)])
    # What is the caller's now may have been another's before a start that nobody told of.
    assert seen.admit([Lost(5), mapped(MINE, 6, "/secret"), mapped(THEIRS, 6)]) == [Lost(6)]
    del proc.owners[MINE]

    assert seen.admit([mapped(MINE, 7, "/secret"), ended(MINE, 8)]) == []
    assert list(seen.prove(GONE, 2)) == []


def test_mappings_from_before_a_program_of_the_callers_are_not_told_either(proc: Proc) -> None:
    start, after = started(MINE, 2), mapped(MINE, 3)
    seen = view(proc, everyone=True)

    assert seen.admit([mapped(MINE, 1, "/secret"), start, after]) == [start, after]
    assert seen.admit([mapped(MINE, 4, "/secret")], lambda: [started(MINE, 5)]) == []
    assert seen.admit([Lost(1), named(OTHER, 6), mapped(MINE, 7)]) == [Lost(2), named(OTHER, 6)]


def test_an_event_of_another_process_with_the_same_number_proves_nothing(proc: Proc) -> None:
    seen = view(proc)
    assert seen.admit([started(GONE, 10)]) == []
    assert seen.admit([ended(GONE, 20)]) == []
    assert list(seen.prove(GONE, 30)) == []
    assert seen.admit([started(OTHER + 1, 10)]) == []
    assert seen.admit([forked(OTHER + 1, THEIRS, 20)]) == []
    assert list(seen.prove(OTHER + 1, 30)) == []


def test_what_is_withheld_has_bounded_memory(proc: Proc) -> None:
    seen = view(proc)
    for pid in range(1000, 1100):
        program: list[TaskRecord] = [started(pid, 1)]
        seen.admit([*program, *(mapped(pid, 2, "/" + "x" * 4000) for _ in range(100))])

    proved = [pid for pid in range(1000, 1100) if list(seen.prove(pid, 2))]
    assert proved == [1098, 1099]


def test_processes_that_ended_are_followed_no_more(proc: Proc) -> None:
    proc.owners[11] = ANN.uid
    seen = view(proc, MINE)
    child: list[TaskRecord] = [forked(11, MINE, 1), ended(11, 2)]

    assert seen.admit(child) == child
    assert seen.admit([named(11, 3)]) == []


def test_events_of_the_next_program_do_not_prove_whose_one_was(proc: Proc) -> None:
    seen = view(proc)
    next_one: list[TaskRecord] = [started(GONE, 3), ended(GONE, 5)]

    assert seen.admit([started(GONE, 1, b"sudo")], lambda: next_one) == []
    assert list(seen.prove(GONE, 4)) == []
    assert seen.admit(next_one) == []
    assert list(seen.prove(GONE, 4)) == next_one
