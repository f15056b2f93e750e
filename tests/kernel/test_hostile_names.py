"""A process may call itself anything: no output obeys it, and scripts get it as it is."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from commandline import PTRACE_CLIENT, Run, ptrace_client, wait_for_session
from leftovers import wait_until
from processes import Daemon
from streams import GETPPID

from ptrace_client.errors import ClientError
from ptrace_proto import ptrace_pb2 as pb

# Sets the title of a terminal, and begins a line of its own.
NAME = "\x1b]0;x\x07\nforged"
OPENS = "syscalls:sys_enter_openat//str=filename/"
PROGRAM = """
import ctypes, os, sys
ctypes.CDLL(None).prctl(15, sys.argv[1].encode(), 0, 0, 0)
print("ready", flush=True)
for line in sys.stdin:
    os.getppid()
    try:
        os.open(sys.argv[1], os.O_RDONLY)
    except OSError:
        pass
    print("done", flush=True)
"""
SHOWING = """
def __sample__(event):
    print(ascii(event._comm), ascii(event.get("filename")), flush=True)
    raise ValueError(event._comm)
"""


class Hostile:
    """A process of that name, which makes a call and opens a file of that name when it is told."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, NAME],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.pid = self.process.pid
        self._read("ready\n")

    def work(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("go\n")
        self.process.stdin.flush()
        self._read("done\n")

    def _read(self, expected: str) -> None:
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == expected


@pytest.fixture
def hostile() -> Iterator[Hostile]:
    running = Hostile()
    yield running
    running.process.communicate()


def assert_harmless(*outputs: str) -> None:
    for output in outputs:
        for line in output.splitlines():
            assert line.replace("\t", " ").isprintable(), ascii(line)
            assert not line.startswith("forged"), output


def shown(daemon: Daemon, hostile: Hostile, folder: Path, *words: str) -> tuple[str, str]:
    """What a command that traces prints of two events of the process at work."""
    where = ["--socket", str(daemon.socket), "-p", str(hostile.pid), "-N", "2"]
    with (
        daemon.connect() as host,
        Run([PTRACE_CLIENT, words[0], *where, *words[1:]], folder) as run,
    ):
        label = "trace" if words[0] == "trace" else words[-1].lstrip("@")
        wait_until(lambda: any(label in s.label for s in host.sessions()), label)
        hostile.work()
        ended = run.end()
    return ended.out, ended.err


def test_events_are_printed_without_obeying(
    daemon: Daemon, hostile: Hostile, tmp_path: Path
) -> None:
    out, err = shown(daemon, hostile, tmp_path, "trace", "-e", f"{GETPPID},{OPENS}")
    escaped = NAME.encode("unicode_escape").decode().replace("\\n", "\\x0a")
    assert len(out.splitlines()) == 2
    assert out.count(f" {escaped} ") == 2
    assert f'filename="{escaped}"' in out or escaped in out.splitlines()[1][60:]
    assert_harmless(out, err)


def test_an_example_prints_them_without_obeying(
    daemon: Daemon, hostile: Hostile, tmp_path: Path
) -> None:
    out, err = shown(daemon, hostile, tmp_path, "run", "-q", "@opens")
    assert "\\x1b]0;x\\x07\\nforged" in out
    assert_harmless(out, err)


def test_scripts_get_what_is_there_and_their_errors_are_shown_without_obeying(
    daemon: Daemon, hostile: Hostile, tmp_path: Path
) -> None:
    (tmp_path / "showing.py").write_text(SHOWING)
    words = ("run", "-q", "-e", f"{GETPPID},{OPENS}", "showing.py")
    out, err = shown(daemon, hostile, tmp_path, *words)
    assert out.splitlines() == [f"{NAME!a} None", f"{NAME!a} {NAME!a}"]
    assert "ValueError: \\x1b]0;x\\x07" in err
    assert "\x1b" not in err
    assert "\x07" not in err


def test_lists_errors_log_and_audit_show_what_clients_send_without_obeying(
    own_daemon: Callable[..., Daemon], tmp_path: Path
) -> None:
    audit = tmp_path / "audit.jsonl"
    daemon = own_daemon(config=f'[audit]\nfile = "{audit}"\n')
    place = ("--socket", str(daemon.socket))
    request = pb.TraceRequest(selectors=[f'{GETPPID}/common_comm!="{NAME}"/'], label=NAME)
    with daemon.connect() as host:
        # Not every filter may have such a text: its refusal is shown, too.
        try:
            stream = host.open(request)
        except ClientError:
            stream = host.open(pb.TraceRequest(selectors=[GETPPID], label=NAME))
        with stream:
            wait_for_session(host, NAME)
            listed = ptrace_client("sessions", *place)
            assert "forged" in listed.out
            assert_harmless(listed.out, listed.err)
            for words in (
                ("trace", "-e", f"sched:{NAME}"),
                ("trace", "-e", f"{GETPPID}/{NAME}==1/"),
                ("trace", "-e", f'uprobe:{NAME}@"/bin/true"'),
                ("trace", "-e", f'uprobe:main@"/{NAME}"'),
                ("trace", "-e", f"profile/{NAME}/"),
                ("trace", "-e", GETPPID, "--cgroups", NAME),
                ("trace", "-e", GETPPID, "-C", NAME),
                ("kill", NAME),
                ("list", NAME),
                ("sessions", "stop", NAME),
            ):
                ended = ptrace_client(words[0], *place, *words[1:])
                assert ended.status == 2, words
                assert_harmless(ended.out, ended.err)
    assert daemon.stop() == 0
    log, lines = daemon.log.read_text(), audit.read_text()
    assert "forged" in log
    assert "forged" in lines
    assert_harmless(log, lines)
