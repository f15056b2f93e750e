"""Commands that wait until they are traced."""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path

import pytest

from ptrace_client.errors import ClientError
from ptrace_client.traced_command import TracedCommand


class Ended(threading.Event):
    """Is set by the call that tells of the end."""

    def __call__(self) -> None:
        self.set()


def python(text: str, *words: object) -> list[str]:
    """Return the words of a command that runs a text."""
    return [sys.executable, "-S", "-c", text, *map(str, words)]


def is_there(pid: int) -> bool:
    """Whether a process, or what is left of it, exists."""
    return Path(f"/proc/{pid}").exists()


def test_it_runs_when_it_is_let_go(tmp_path: Path) -> None:
    # GIVEN a command that tells its process
    made = tmp_path / "made"
    text = "import os, sys; open(sys.argv[1], 'w').write(str(os.getpid()))"
    ended = Ended()
    with TracedCommand(python(text, made)) as command:
        # WHEN it has not been let go THEN it is a process that does nothing
        assert is_there(command.pid)
        assert not made.exists()
        # WHEN it is THEN that process becomes the program
        command.start(ended)
        assert ended.wait(60)
    assert made.read_text() == str(command.pid)
    assert not is_there(command.pid)


def test_without_that_it_never_runs(tmp_path: Path) -> None:
    made = tmp_path / "made"
    with TracedCommand(["touch", str(made)]) as command:
        pass
    assert not is_there(command.pid)
    assert not made.exists()


def test_it_does_not_outlive_the_run(tmp_path: Path) -> None:
    # GIVEN a command that would go on, and has begun
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    text = "import signal, sys; open(sys.argv[1], 'w').close(); signal.pause()"
    ended = Ended()
    with TracedCommand(python(text, fifo)) as command:
        command.start(ended)
        fifo.open().close()
        assert not ended.is_set()
        assert command.status is None
    assert ended.is_set()
    assert command.status == -signal.SIGTERM
    assert not is_there(command.pid)


def test_signals_that_python_ignores_are_not_ignored(tmp_path: Path) -> None:
    made = tmp_path / "made"
    with TracedCommand(["sh", "-c", f"grep SigIgn /proc/self/status >{made}"]) as command:
        ended = Ended()
        command.start(ended)
        assert ended.wait(60)
    ignored = int(made.read_text().split()[1], 16)
    assert not ignored & (1 << (signal.SIGPIPE - 1))


def test_there_is_no_such_command() -> None:
    with pytest.raises(ClientError, match=r"^cannot run no\\x1bsuch: there is no such command$"):
        TracedCommand(["no\x1bsuch"])


def test_killed_before_it_was_let_go() -> None:
    ended = Ended()
    with TracedCommand(["true"]) as command:
        os.kill(command.pid, signal.SIGKILL)
        command.start(ended)
        assert ended.wait(60)
    assert command.status == -signal.SIGKILL


def test_what_cannot_be_run(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"\x7fELF nothing")
    file.chmod(0o755)
    ended = Ended()
    with (
        TracedCommand([str(file)]) as command,
        pytest.raises(ClientError, match=r"cannot run .*/file: Exec format error"),
    ):
        command.start(ended)
    assert ended.is_set()
    assert not is_there(command.pid)
