"""`ptraced --explain-policy`: what the administrator learns without asking a daemon."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from commandline import Ended

POLICY = """
[[rule]]
name = "all"
users = ["root"]
events = ["*"]
tasks = "all"
admin = true

[[rule]]
name = "own"
users = ["*"]
events = ["sched:*", "profile", "uprobe:*"]
stacks = "user"
uprobes = "own"
[rule.quota]
sessions = 2
buffer_bytes = "64MiB"
events_per_second = 1000

[[rule]]
name = "some"
users = ["nobody"]
events = ["syscalls:sys_enter_read"]
tasks = "all"
[rule.quota]
sessions = 4
buffer_bytes = "1MiB"
"""


@pytest.fixture
def explain(tmp_path: Path) -> Callable[..., Ended]:
    file = tmp_path / "ptraced.toml"
    file.write_text(POLICY)

    def run(*arguments: str) -> Ended:
        command = [sys.executable, "-m", "ptraced.cli", "--config", file]
        done = subprocess.run(
            [*command, "--explain-policy", *arguments], capture_output=True, text=True, check=False
        )
        return Ended(done.returncode, done.stdout.replace(f"{tmp_path}/", ""), done.stderr)

    return run


def test_all_that_a_user_may(explain: Callable[..., Ended]) -> None:
    ended = explain("nobody")
    assert (ended.status, ended.err) == (0, "")
    who, rules, globs, systems, quotas = ended.out.split("\n\n")
    assert who == "nobody (uid 65534; groups: nogroup)"
    assert rules == (
        "RULE  TASKS  PROBED FILES  STACKS  ADDRESSES    REMOTE  ADMIN  PLACE\n"
        "own   own    own           user    as the host  no      no     ptraced.toml:9\n"
        "some  all    none          none    as the host  no      no     ptraced.toml:20"
    )
    assert globs == "own: sched:* profile uprobe:*\nsome: syscalls:sys_enter_read"
    cells = [line.split() for line in systems.splitlines()]
    found = {cell[0]: cell[1:] for cell in cells}
    assert set(found) == {"SYSTEM", "(sampled)", "sched", "syscalls", "uprobe"}
    assert found["(sampled)"][0] == "1"
    assert found["uprobe"] == ["all", "own", "own"]
    assert (found["syscalls"][0], found["syscalls"][3:]) == ("1", ["all", "some"])
    # Events of others' tasks are not for those who may trace their own.
    assert 0 < int(found["sched"][0]) < int(found["sched"][2])
    assert [line.split() for line in quotas.splitlines()] == [
        ["QUOTA", "LIMIT", "RULE"],
        ["sessions", "4", "some"],
        ["programs", "none", "own"],
        ["probes", "none", "own"],
        ["buffer_bytes", "64MiB", "own"],
        ["events_per_second", "none", "some"],
        ["bytes_per_second", "none", "own"],
        ["stack_depth", "none", "own"],
        ["stacks_per_second", "none", "own"],
        ["compile_ms", "none", "own"],
        ["cpu_percent", "none", "own"],
    ]


def test_the_rule_that_decides_about_each_event(explain: Callable[..., Ended]) -> None:
    own, some = '"own" (ptraced.toml:9)', '"some" (ptraced.toml:20)'
    allowed = explain("65534", "sched:sched_process_exit", "syscalls:sys_enter_read", "profile")
    assert (allowed.status, allowed.err) == (0, "")
    exit_, read, profile = allowed.out.splitlines()
    assert exit_.startswith(f"sched:sched_process_exit: own tasks, by rule {own}")
    assert read == f"syscalls:sys_enter_read: all tasks, by rule {some}"
    assert profile.startswith(f"profile: own tasks, by rule {own}")

    denied = explain("nobody", "syscalls:sys_enter_write", "sched:sched_stat_runtime")
    assert denied.status == 1
    assert denied.out.splitlines() == [
        "syscalls:sys_enter_write: denied: the policy does not allow you syscalls:sys_enter_write: "
        'your rules ("own", "some") are not about it; ask this host\'s administrator for one that '
        "is",
        "sched:sched_stat_runtime: denied: sched:sched_stat_runtime may tell of others' tasks, and "
        'rule "own" allows you your own; ask this host\'s administrator for one of all tasks',
    ]


def test_a_user_whom_no_rule_names_may_nothing(
    tmp_path: Path, explain: Callable[..., Ended]
) -> None:
    (tmp_path / "ptraced.toml").write_text('[[rule]]\nname = "r"\nusers = ["#7"]\nadmin = true\n')
    assert explain("nobody") == Ended(
        1, "nobody (uid 65534; groups: nogroup)\n\nNo rule applies: nothing is allowed.\n", ""
    )


@pytest.mark.parametrize("user", ["no-such-user", "4000000001", "99999999999999999999", ""])
def test_unknown_users_are_an_error(user: str, explain: Callable[..., Ended]) -> None:
    assert explain(user) == Ended(2, "", f"error: this host has no user {user}\n")


def test_unknown_events_are_an_error(explain: Callable[..., Ended]) -> None:
    ended = explain("nobody", "sched:nope")
    assert (ended.status, ended.out) == (2, "")
    assert ended.err == "error: no event 'sched:nope'\n  sched:nope\n        ^~~~\n"
