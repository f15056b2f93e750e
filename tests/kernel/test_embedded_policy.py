"""What an embedded daemon allows: everything to who runs it, to others what a named file says."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from commandline import Ended, open_folder, ptrace_client
from users import AS_NOBODY

STRANGER_ERROR = (
    "error: no rule of this host's policy names you, nobody (groups: nogroup); ask its "
    "administrator for one, or for a group that may trace\n"
)
FILE = """
[[rule]]
name = "demo"
users = ["nobody"]
events = ["syscalls:sys_enter_getppid"]
tasks = "all"
"""
ONE = ("trace", "-e", "syscalls:sys_enter_getppid", "--duration", "0.01")


@contextmanager
def embedded(folder: Path, *options: str) -> Iterator[Path]:
    """A daemon at a socket that is open to all users."""
    socket = folder / "ptraced.sock"
    command = [sys.executable, "-m", "ptraced.cli", "--embedded", "--socket", str(socket)]
    with subprocess.Popen(
        [*command, "--socket-mode", "0666", *options],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as daemon:
        assert daemon.stdout is not None
        assert daemon.stdout.readline() == b"ready\n"
        yield socket
        assert daemon.stdin is not None
        daemon.stdin.close()
        assert daemon.wait() == 0


def test_only_its_owner_may_trace() -> None:
    with open_folder() as folder, embedded(folder) as socket:
        who = ptrace_client("whoami", "--socket", socket)
        assert (who.status, who.out.splitlines()[6].split()[:2]) == (0, ["owner", "all"])
        assert "administrators" not in who.out
        refused = ptrace_client(*ONE, "--socket", socket, prefix=AS_NOBODY)
        assert refused == Ended(2, "", STRANGER_ERROR)


def test_rules_of_a_file_apply_besides() -> None:
    with open_folder() as folder:
        file = folder / "demo.toml"
        file.write_text(FILE)
        with embedded(folder, "--config", str(file)) as socket:
            who = ptrace_client("whoami", "--socket", socket)
            assert [line.split()[0] for line in who.out.splitlines()[5:7]] == ["RULE", "owner"]
            assert ptrace_client(*ONE, "--socket", socket, prefix=AS_NOBODY).status == 0
            other = ("trace", "-e", "sched:sched_switch", "--duration", "0.01")
            refused = ptrace_client(*other, "--socket", socket, prefix=AS_NOBODY)
            assert (refused.status, refused.err) == (
                2,
                "error: the policy does not allow you sched:sched_switch: your rules "
                '("demo") are not about it; ask this host\'s administrator for one that is\n',
            )
