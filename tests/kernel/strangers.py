"""Clients of several users, all in this process."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from processes import Daemon

from ptrace_client.host import Host, connect

_RELAY = Path(__file__).with_name("relay_as.py")
# Users that this host need not know.
ANN, BEN, CAT = 64101, 64102, 64103


def rule(uid: int, **quota: int) -> str:
    """A rule by which a user may trace everything, within a quota."""
    limits = "\n".join(f"{name} = {value}" for name, value in quota.items())
    return f"""
[[rule]]
name = "user {uid}"
users = ["#{uid}"]
events = ["*"]
tasks = "all"
uprobes = "all"
stacks = "all"
[rule.quota]
{limits}
"""


@contextmanager
def connected_as(uid: int, daemon: Daemon) -> Iterator[Host]:
    """A connection as another user; others must be able to enter the daemon's folder."""
    here = daemon.socket.with_name(f"as-{uid}")
    with subprocess.Popen(
        [sys.executable, _RELAY, str(uid), here, daemon.socket],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as relay:
        assert relay.stdin is not None
        assert relay.stdout is not None
        assert relay.stdout.readline() == "ready\n"
        try:
            with connect(socket=here) as host:
                yield host
        finally:
            relay.stdin.close()
            here.unlink()
