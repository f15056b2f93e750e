"""Of whose tasks a session tells: what its events and the host's /proc allow."""

from __future__ import annotations

from dataclasses import replace

import pytest
from madeup import make_tracefs

from ptrace_proto import ptrace_pb2 as pb
from ptraced.config import Config
from ptraced.identity import Caller
from ptraced.planner import plan_session
from ptraced.policy import task_rights as module
from ptraced.policy.exposure import Exposure
from ptraced.policy.grant import Policy, Rule, StackParts, Tasks
from ptraced.policy.renewal import withdrawn
from ptraced.policy.task_rights import TaskRights, task_rights

ANN = Caller(1000, 1000, user="ann")
ALL = Rule(name="all", users=("ann",), events=("*",), tasks=Tasks.ALL, stacks=StackParts.ALL)
OF_ALL, OF_OWN = Exposure(ALL), Exposure(ALL, owner=1000)
SILENT = Exposure(replace(ALL, stacks=StackParts.KERNEL))


@pytest.fixture(autouse=True)
def others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "shows_others", lambda caller: True)


def test_all_is_told_where_all_is_seen() -> None:
    assert task_rights(ANN, [OF_ALL, OF_ALL]) == TaskRights(ANN, True, True, frozenset())


def test_one_event_of_own_tasks_makes_it_own_tasks_and_its_rows_are_proof() -> None:
    assert task_rights(ANN, [OF_ALL, OF_OWN]) == TaskRights(ANN, False, False, frozenset((2,)))


def test_mappings_of_others_are_told_with_stacks_of_user_code_only() -> None:
    assert task_rights(ANN, [OF_ALL, SILENT]) == TaskRights(ANN, True, False, frozenset())


def test_where_proc_hides_others_they_are_not_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "shows_others", lambda caller: False)

    assert task_rights(ANN, [OF_ALL]) == TaskRights(ANN, False, False, frozenset())


def test_mappings_of_others_end_with_the_right_to_their_stacks(
    tmp_path: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracefs = make_tracefs(tmp_path, {"sched:switch": (("int pid", 8, 4, True),)})  # type: ignore[arg-type]
    before, after = (Policy((rule,)).grant(ANN) for rule in (ALL, SILENT.rule))
    asked = pb.TraceRequest(selectors=["sched:switch"])
    ends = []
    for tells in (False, True):
        asked.task_records = tells
        planned = plan_session(asked, tracefs, tracefs.root, Config(), before)
        ends.append(withdrawn(planned.granted, after))

    assert ends[0] == ""
    assert "user stacks of sched:switch" in ends[1]
