"""Rules in files: what is read, where mistakes are, and what contradicts itself."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ptraced.config import Config, load_config, parse_config
from ptraced.errors import TraceError
from ptraced.identity import Caller
from ptraced.policy import builtin
from ptraced.policy.grant import Quota, Rule, StackParts, Tasks, Uprobes
from ptraced.policy.load import unknown_names
from unprivileged import NOBODY, PROJECT

RULE = '[[rule]]\nname = "one"\nusers = ["*"]\nevents = ["sched:*"]\n'


def refused(text: str) -> str:
    with pytest.raises(TraceError) as caught:
        parse_config(text, "p.toml")
    return str(caught.value)


def write(folder: Path, **texts: str) -> Path:
    """Write ptraced.toml from `main`, and drop-ins from the others; returns the former."""
    drop_ins = folder / "ptraced.d"
    drop_ins.mkdir()
    for name, text in texts.items():
        file = folder / "ptraced.toml" if name == "main" else drop_ins / f"{name}.toml"
        file.write_text(text)
    return folder / "ptraced.toml"


def refused_files(path: Path) -> str:
    with pytest.raises(TraceError) as caught:
        load_config(path)
    return str(caught.value).replace(f"{path.parent}/", "")


def test_a_rule_has_all_its_settings_and_its_place() -> None:
    config = parse_config(
        """
        [[rule]]
        name = "one"
        users = ["ann", "#1000"]
        groups = ["devs"]
        events = ["sched:*", "!sched:sched_switch"]
        tasks = "all"
        uprobes = "own"
        stacks = "user"
        kernel_addresses = true
        remote = true
        admin = true
        [rule.quota]
        sessions = 3
        programs = 4
        probes = 0
        buffer_bytes = "1MiB"
        events_per_second = 1_000
        bytes_per_second = "2 KiB"
        stack_depth = 16
        stacks_per_second = 7
        compile_ms = 8
        cpu_percent = 150

        [[rule]]
        name = "two"
        groups = ["others"]
        events = ["irq:*"]
        """,
        "p.toml",
    )
    first, second = config.policy.rules
    assert first == Rule(
        name="one",
        place="p.toml:2",
        users=("ann", "#1000"),
        groups=("devs",),
        events=("sched:*", "!sched:sched_switch"),
        tasks=Tasks.ALL,
        uprobes=Uprobes.OWN,
        stacks=StackParts.USER,
        kernel_addresses=True,
        remote=True,
        admin=True,
        quota=Quota(
            sessions=3,
            programs=4,
            probes=0,
            buffer_bytes=1 << 20,
            events_per_second=1000,
            bytes_per_second=2048,
            stack_depth=16,
            stacks_per_second=7,
            compile_ms=8,
            cpu_percent=150,
        ),
    )
    assert second == Rule(name="two", place="p.toml:25", groups=("others",), events=("irq:*",))


def test_rules_of_a_file_replace_those_that_are_built_in() -> None:
    assert parse_config("", "p.toml").policy is builtin.POLICY
    assert parse_config("", "p.toml").quota == builtin.QUOTA == Config().quota
    config = parse_config(f"{RULE}\n[quota]\nsessions = 5\n", "p.toml")
    assert [rule.name for rule in config.policy.rules] == ["one"]
    assert config.quota == Quota(sessions=5)


def test_the_built_in_rules_are_those_that_are_shipped() -> None:
    administrators, users = builtin.POLICY.rules
    assert (administrators.users, administrators.groups) == (("root",), ("ptrace-admin",))
    assert (administrators.tasks, administrators.admin) == (Tasks.ALL, True)
    assert (users.users, users.groups, users.tasks) == ((), ("ptrace",), Tasks.OWN)
    assert (users.admin, users.remote, users.kernel_addresses) == (False, False, False)
    assert None not in [getattr(users.quota, limit) for limit in Quota.__slots__]
    stranger = builtin.POLICY.grant(Caller(1000, 1000, user="ann", groups=frozenset({"users"})))
    assert stranger.rules == ()
    assert stranger.rule_for("sched:sched_switch") is None


def test_the_manual_has_the_quotas_that_are_shipped_and_a_right_example() -> None:
    manual = (PROJECT / "docs/policy.md").read_text()
    _, users = builtin.POLICY.rules
    for limit in Quota.__slots__:
        value = getattr(users.quota, limit)
        shown = f"{value >> 20} MiB" if "bytes" in limit else f"{value:,}"
        assert f"| `{limit}` | {shown} |" in manual
    example = manual.partition("```toml\n")[2].partition("```")[0]
    assert parse_config(example, "p.toml").policy.rules[0].name == "web team"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            f"# a comment\n{RULE}taks = 'own'\n",
            "error: p.toml:6: rule \"one\": taks is not a setting (did you mean 'tasks'?)",
        ),
        (
            f"{RULE}\n[[rule]]\nusers = ['*']\nevents = ['a:*']\n",
            'error: p.toml:6: a rule must have a name: name = "..."',
        ),
        (
            f"{RULE}tasks = 'mine'\n",
            'error: p.toml:5: rule "one": tasks must be one of "own", "all", not "mine"',
        ),
        (
            f"{RULE}[rule.quota]\n\nbuffer_bytes = 'much'\n",
            'error: p.toml:7: rule "one": quota.buffer_bytes must be a size from 4KiB to 1024GiB, '
            'like "64MiB", not "much"',
        ),
        (
            f"{RULE}quota.session = 3\n",
            'error: p.toml:5: rule "one": quota.session is not a setting (did you mean '
            "'sessions'?)",
        ),
        (
            f"{RULE}quota = 3\n",
            'error: p.toml:5: rule "one": quota must be a table',
        ),
        (
            "[[rule]]\nname = 'one'\nusers = 'ann'\nevents = ['a:b']\n",
            'error: p.toml:3: rule "one": users must be a list of names of users, "#1000" or "*", '
            'not "ann"',
        ),
        (
            "[[rule]]\nname = 'one'\ngroups = ['*']\nevents = ['a:b']\n",
            'error: p.toml:3: rule "one": groups must be a list of names of groups, not ["*"]',
        ),
        (
            "[[rule]]\nname = 'one'\nusers = ['ann']\nevents = ['!!a']\n",
            'error: p.toml:4: rule "one": events must be a list of globs of events, like '
            '"sched:*" or "!sched:*", not ["!!a"]',
        ),
        ("[rule]\nname = 'one'\n", "error: p.toml:1: rules are tables: [[rule]]"),
        ("quota = 3\n", "error: p.toml:1: quota is a section: [quota]"),
        (
            "[quota]\nsessions = 0\n",
            "error: p.toml:2: quota.sessions must be a number from 1 to 65536, not 0",
        ),
    ],
)
def test_a_mistake_names_file_line_and_rule(text: str, message: str) -> None:
    assert refused(text) == message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            f"{RULE}\n{RULE}",
            'error: p.toml:7: rule "one": has the name of the rule in p.toml:1',
        ),
        (
            RULE + RULE.replace("one", "two") + "tasks = 'all'\n",
            'error: p.toml:9: rule "two": allows "sched:*" of all tasks, but rule "one" (p.toml:1) '
            "of own tasks to the same users",
        ),
        (
            "[[rule]]\nname = 'one'\nusers = ['*']\nevents = ['a:b', '!*']\n",
            'error: p.toml:4: rule "one": takes out all that it takes in, ["a:b", "!*"]',
        ),
        (
            "[[rule]]\nname = 'one'\nusers = ['*']\nevents = ['a:b*', '!a:*']\n",
            'error: p.toml:4: rule "one": takes out all that it takes in, ["a:b*", "!a:*"]',
        ),
        (
            "[[rule]]\nname = 'one'\nusers = ['*']\nevents = ['!a:b']\n",
            'error: p.toml:4: rule "one": takes out all that it takes in, ["!a:b"]',
        ),
        (
            "[[rule]]\nname = 'one'\nevents = ['a:b']\n",
            'error: p.toml:2: rule "one": applies to nobody: it must have users or groups; '
            'users = ["*"] is everybody',
        ),
        (
            "[[rule]]\nname = 'one'\nusers = ['*']\n",
            'error: p.toml:2: rule "one": allows nothing: it must have events, such as '
            '["sched:*"], or admin or a quota',
        ),
    ],
)
def test_contradictions_are_refused(text: str, message: str) -> None:
    assert refused(text) == message


@pytest.mark.parametrize(
    "text",
    [
        # Not all that matches a:* matches a:?.
        "[[rule]]\nname = 'one'\nusers = ['*']\nevents = ['a:*', '!a:?', '!a:b*']\n",
        RULE + "kernel_addresses = true\n",
        RULE + RULE.replace("one", "two").replace('users = ["*"]', "groups = ['g']\ntasks = 'all'"),
        # Own tasks from afar, all of them at the host.
        RULE + "remote = true\n" + RULE.replace("one", "two") + "tasks = 'all'\n",
        "[[rule]]\nname = 'one'\nusers = ['*']\nadmin = true\n",
        "[[rule]]\nname = 'one'\nusers = ['*']\nquota.sessions = 1\n",
    ],
)
def test_what_only_looks_like_a_contradiction_is_taken(text: str) -> None:
    assert parse_config(text, "p.toml").policy.rules


def test_drop_ins_go_before_the_file_in_the_order_of_their_names(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        main=f"[limits]\nsessions = 1\nevents_per_session = 2\n{RULE}",
        b=RULE.replace("one", "three"),
        a=f"[limits]\nsessions = 9\n{RULE.replace('one', 'two')}",
    )
    (tmp_path / "ptraced.d/notes.txt").write_text("no TOML")
    config = load_config(path)
    assert (config.limits.sessions, config.limits.events_per_session) == (9, 2)
    assert [(rule.name, rule.place) for rule in config.policy.rules] == [
        ("one", f"{path}:4"),
        ("two", f"{tmp_path}/ptraced.d/a.toml:3"),
        ("three", f"{tmp_path}/ptraced.d/b.toml:1"),
    ]


def test_mistakes_of_all_files_are_told_at_once_in_their_order(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        main=f"[log]\nlevel = 'loud'\n{RULE}",
        a="[server]\nsocket = 'here'\n\n[limits]\nsessions = 0\n",
        b=f"\n{RULE}",
    )
    assert refused_files(path).splitlines() == [
        'error: ptraced.toml:2: log.level must be one of "debug", "info", "warning", "error", '
        'not "loud"',
        'error: ptraced.d/a.toml:2: server.socket must be an absolute path, not "here"',
        "error: ptraced.d/a.toml:5: limits.sessions must be a number from 1 to 65536, not 0",
        'error: ptraced.d/b.toml:3: rule "one": has the name of the rule in ptraced.toml:3',
    ]


def test_drop_ins_that_differ_are_refused_with_both_places(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        main="[limits]\nsessions = 1\n[quota]\nbuffer_bytes = '1MiB'\n",
        a="[limits]\nsessions = 2\n[quota]\nbuffer_bytes = '2MiB'\n",
        b="\n[limits]\nsessions = 3\n[quota]\nbuffer_bytes = 2097152\n",
    )
    assert refused_files(path) == (
        "error: ptraced.d/b.toml:3: limits.sessions is 3 here, and 2 in ptraced.d/a.toml:2"
    )


def test_a_contradiction_over_files_is_found(tmp_path: Path) -> None:
    path = write(
        tmp_path, main="[limits]\nmax_buffer_pages = 8\n", a="[limits]\nbuffer_pages = 16\n"
    )
    assert refused_files(path) == (
        "error: ptraced.d/a.toml:2: limits.buffer_pages must be at most limits.max_buffer_pages "
        "(8), not 16"
    )


def test_files_that_others_may_write_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path, main="", a=RULE, b=RULE)
    os.chown(tmp_path / "ptraced.d/a.toml", NOBODY, NOBODY)
    (tmp_path / "ptraced.d/b.toml").chmod(0o664)
    assert refused_files(path).splitlines() == [
        "error: ptraced.d/a.toml belongs to uid 65534, who could allow anything by it: chown root "
        "ptraced.d/a.toml",
        "error: ptraced.d/b.toml may be written by others than its owner, who could allow anything "
        "by it: chmod go-w ptraced.d/b.toml",
    ]


def test_a_directory_that_others_may_write_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, main="", a=RULE)
    (tmp_path / "ptraced.d").chmod(0o777)
    assert refused_files(path) == (
        "error: ptraced.d may be written by others than its owner, who could allow anything by "
        "it: chmod go-w ptraced.d"
    )


def test_a_fifo_is_not_waited_for(tmp_path: Path) -> None:
    path = write(tmp_path, main="")
    os.mkfifo(tmp_path / "ptraced.d/a.toml")
    assert refused_files(path) == "error: ptraced.d/a.toml is not a regular file"


def test_users_and_groups_that_are_not_known_are_a_warning() -> None:
    config = parse_config(
        "[[rule]]\nname = 'one'\nusers = ['root', 'no-such-user', '#77', '*']\n"
        "groups = ['root', 'no-such-group']\nevents = ['a:b']\n",
        "p.toml",
    )
    # Groups of the policy that is built in are made by those who want them.
    assert not list(unknown_names(builtin.POLICY))
    assert list(unknown_names(config.policy)) == [
        'p.toml:1: rule "one": this host has no user "no-such-user"',
        'p.toml:1: rule "one": this host has no group "no-such-group"',
    ]


def test_rules_without_a_quota_lift_none() -> None:
    limited = f"{RULE}[rule.quota]\nsessions = 3\n"
    more = RULE.replace("one", "more")
    caller = Caller(uid=0, gid=0)

    def quota(text: str) -> Quota:
        return parse_config(text, "p.toml").policy.grant(caller).quota

    assert quota(limited + more) == Quota(sessions=3)
    assert quota(more) == Quota()
    assert quota(f"{limited}{more}[rule.quota]\n") == Quota()
