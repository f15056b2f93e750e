"""What users learn of the policy: their own part of it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator

import pytest
from commandline import Ended, open_folder, ptrace_client
from processes import Daemon
from streams import GETPPID
from users import AS_NOBODY

from ptrace_proto import ptrace_pb2 as pb
from unprivileged import as_user

STRANGER = tuple(as_user([], 65532))
POLICY = """
[[rule]]
name = "root"
users = ["root"]
events = ["*"]
tasks = "all"
stacks = "all"
uprobes = "all"
kernel_addresses = true
admin = true
[[rule]]
name = "watchers"
users = ["nobody"]
events = ["sched:*", "!sched:sched_switch"]
stacks = "user"
[rule.quota]
sessions = 2
buffer_bytes = "64MiB"
"""


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with open_folder() as folder:
        running = Daemon(folder, config=POLICY)
        yield running
        assert running.stop() == 0


def whoami(daemon: Daemon, *options: str, prefix: tuple[str, ...] = ()) -> Ended:
    return ptrace_client("whoami", "--socket", daemon.socket, *options, prefix=prefix)


def test_a_user_sees_the_rules_that_apply_without_their_places(daemon: Daemon) -> None:
    ended = whoami(daemon, prefix=AS_NOBODY)
    granted, _, quotas = ended.out.partition("\nQUOTA ")
    assert (ended.status, ended.err) == (0, "")
    assert (
        granted
        == """\
you      nobody (uid 65534, gid 65534)
groups   nogroup
through  the Unix socket
admin    no

RULE      TASKS  EVENTS                       PROBED FILES  STACKS  ADDRESSES    REMOTE
watchers  own    sched:* !sched:sched_switch  none          user    as the host  no
"""
    )
    (rule,) = json.loads(whoami(daemon, "--json", prefix=AS_NOBODY).out)["rules"]
    assert (rule["name"], rule["place"]) == ("watchers", "")
    rows = [line.rsplit(maxsplit=2) for line in quotas.splitlines()]
    assert ["sessions", "2", "0"] in rows
    assert "kernel buffers        64 MiB    0 B" in quotas
    assert "BPF programs          no limit  0" in quotas


def test_an_administrator_sees_the_places_and_what_is_used(daemon: Daemon) -> None:
    with daemon.connect() as host, host.open(pb.TraceRequest(selectors=[GETPPID])):
        answer = host.whoami()
        (rule,) = json.loads(whoami(daemon, "--json").out)["rules"]
    assert rule == {
        "name": "root",
        "place": f"{daemon.socket.parent}/ptraced.toml:5",
        "events": ["*"],
        "scope": "all",
        "uprobes": "all",
        "stacks": "all",
        "kernel_addresses": True,
        "remote": False,
    }
    assert (answer.admin, answer.used.sessions, answer.caller.pid) == (True, 1, os.getpid())
    assert answer.used.programs > 0
    assert not answer.quotas.ListFields()


def test_a_stranger_is_told_so(daemon: Daemon) -> None:
    assert whoami(daemon, prefix=STRANGER) == Ended(
        1,
        """\
you      without a name (uid 65532, gid 65532)
groups   none
through  the Unix socket
admin    no

No rule of this host's policy names you: you may trace nothing. Its administrator
can add a rule, or put you into a group that has one.
""",
        "",
    )
    answer = json.loads(whoami(daemon, "--json", prefix=STRANGER).out)
    assert (answer["rules"], answer["admin"]) == ([], False)
    assert set(answer["quotas"].values()) == {0}
    refused = ptrace_client("trace", "--socket", daemon.socket, "-e", GETPPID, prefix=STRANGER)
    assert refused == Ended(
        2,
        "",
        "error: no rule of this host's policy names you, uid 65532; ask its administrator for "
        "one, or for a group that may trace\n",
    )
