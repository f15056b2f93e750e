"""What of a session a changed policy does not allow any more."""

from __future__ import annotations

from dataclasses import replace

import pytest
from madeup import event

from ptrace_formats.event_format import EventFormat
from ptraced.identity import Caller, groups_of, renewed
from ptraced.layout import Blanks
from ptraced.policy import exposure
from ptraced.policy.exposure import Exposure
from ptraced.policy.grant import Policy, Rule, StackParts, Tasks, Uprobes
from ptraced.policy.renewal import Granted, withdrawn
from ptraced.selector import SelectedEvent

ANN = Caller(1000, 1000, user="ann")
SWITCH = event(
    "sched", "sched_switch", ("char prev_comm[16]", 8, 16, False), ("pid_t next_pid", 24, 4, True)
)
# The callee's address, which own scope keeps and kptr_restrict hides.
FREED = event(
    "kmem", "kfree", ("unsigned long call_site", 8, 8, False), ("void * ptr", 16, 8, False)
)
MALLOC = event("uprobe", "malloc", ("u64 bytes", 8, 8, False))
ALL = Rule(
    name="all",
    users=("ann",),
    events=("*",),
    tasks=Tasks.ALL,
    stacks=StackParts.ALL,
    uprobes=Uprobes.ALL,
    kernel_addresses=True,
)
OWN = replace(ALL, name="own", tasks=Tasks.OWN)


@pytest.fixture(autouse=True)
def _host(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host that hides addresses, and others' tasks in /proc."""
    monkeypatch.setattr(exposure, "shows_addresses", lambda caller: False)
    monkeypatch.setattr(exposure, "shows_others", lambda caller: False)


def session(
    format: EventFormat, rule: Rule = ALL, *columns: str, stacks: frozenset[str] = frozenset()
) -> Granted:
    """A session that was opened by a rule, with all of the event's columns where none is named."""
    selected = SelectedEvent(
        index=0,
        format=format,
        alias="",
        filter=None,
        stack=False,
        max_stack=None,
        cpus="",
        text=format.title,
    )
    owner = None if rule.tasks is Tasks.ALL else ANN.uid
    shown = frozenset(columns or (field.name for field in format.fields))
    return Granted(selected, Exposure(rule, owner, Blanks(), True), shown, stacks)


def after(granted: Granted, *rules: Rule) -> str:
    return withdrawn([granted], Policy(rules).grant(ANN))


BOTH = frozenset({"user", "kernel"})


@pytest.mark.parametrize(
    ("granted", "rule", "missing"),
    [
        (
            session(SWITCH),
            replace(ALL, events=("irq:*",)),
            'the policy does not allow you sched:sched_switch: your rules ("all") are not about '
            "it; ask this host's administrator for one that is",
        ),
        (
            session(SWITCH),
            replace(ALL, users=("bob",)),
            "no rule of this host's policy names you, ann; ask its administrator for one, or for "
            "a group that may trace",
        ),
        (session(SWITCH), OWN, 'rule "own" allows you sched:sched_switch only of your own tasks'),
        (
            session(SWITCH, stacks=BOTH),
            replace(ALL, stacks=StackParts.USER),
            'rule "all" does not allow you kernel stacks of sched:sched_switch',
        ),
        (
            session(SWITCH, stacks=BOTH),
            replace(ALL, stacks=StackParts.NONE),
            'rule "all" does not allow you kernel and user stacks of sched:sched_switch',
        ),
        (
            session(SWITCH, stacks=frozenset({"kernel"})),
            replace(ALL, kernel_addresses=False),
            'rule "all" does not show you kernel addresses of sched:sched_switch',
        ),
        (
            session(MALLOC),
            replace(ALL, uprobes=Uprobes.OWN),
            'rule "all" allows you uprobe:malloc only in your own files',
        ),
    ],
)
def test_what_is_missing_is_named(granted: Granted, rule: Rule, missing: str) -> None:
    assert after(granted, rule) == missing


def test_addresses_in_columns_are_missed() -> None:
    hidden = after(session(FREED), replace(ALL, kernel_addresses=False))
    assert hidden.startswith('rule "all" does not show you ')
    assert hidden.endswith(" of kmem:kfree")


@pytest.mark.parametrize(
    ("granted", "rule"),
    [
        (session(SWITCH), replace(ALL, name="new", place="elsewhere:1", admin=True)),
        (session(SWITCH, OWN), ALL),
        # Whether /proc hides tasks is not asked again.
        (session(SWITCH, OWN), replace(OWN, stacks=StackParts.ALL)),
        (session(SWITCH), replace(ALL, stacks=StackParts.NONE, uprobes=Uprobes.NONE)),
        (session(SWITCH, stacks=frozenset({"user"})), replace(ALL, stacks=StackParts.USER)),
        (session(SWITCH), replace(ALL, kernel_addresses=False)),
        (session(FREED, ALL, "common_pid"), replace(ALL, kernel_addresses=False)),
    ],
)
def test_who_has_no_more_than_is_granted_goes_on(granted: Granted, rule: Rule) -> None:
    assert after(granted, rule) == ""


def test_another_rule_may_decide_by_now() -> None:
    assert after(session(SWITCH), replace(OWN, events=("*",)), replace(ALL, name="b")) == ""


def test_groups_are_those_of_now_unless_nobody_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    root = Caller(0, 0, user="root", groups=frozenset({"gone"}))
    assert renewed(root).groups == groups_of("root")
    assert renewed(replace(root, user="no-such-user")).groups == {"gone"}
