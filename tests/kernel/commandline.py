"""The real `ptrace-client` on a real daemon, as users call it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from leftovers import wait_until
from processes import Daemon

from ptrace_client.host import Host

PTRACE_CLIENT = str(Path(sys.executable).with_name("ptrace-client"))


@dataclass(frozen=True)
class Ended:
    """What a command left behind."""

    status: int
    out: str
    err: str


def environment(**changes: str) -> dict[str, str]:
    """This process's environment in which no place of a daemon is named."""
    named = ("PTRACED_SOCKET", "PTRACED_HOST", "PTRACED_TLS")
    return {name: value for name, value in os.environ.items() if name not in named} | changes


def ptrace_client(
    *arguments: str | os.PathLike[str], folder: Path = Path("/"), prefix: Sequence[str] = ()
) -> Ended:
    """Run a command line to its end, in `folder`, behind the words of `prefix`."""
    done = subprocess.run(
        [*prefix, PTRACE_CLIENT, *map(os.fspath, arguments)],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    return Ended(done.returncode, done.stdout, done.stderr)


class Run:
    """A `ptrace-client run` in the background; a context manager that kills what is left."""

    def __init__(self, command: Sequence[str | os.PathLike[str]], folder: Path, **changes: str):
        self.process = subprocess.Popen(
            list(map(os.fspath, command)),
            cwd=folder,
            env=environment(**changes),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Run:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()

    def line(self) -> str:
        """The next line of its standard output, without the newline."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().removesuffix("\n")

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def end(self) -> Ended:
        """Wait for its end; `out` is what was not read yet."""
        out, err = self.process.communicate()
        return Ended(self.process.returncode, out, err)


def run_script(
    daemon: Daemon, script: Path, *arguments: str | os.PathLike[str], **changes: str
) -> Run:
    """Start `run` with these options and a script, in the script's folder."""
    command = [PTRACE_CLIENT, "run", "--socket", daemon.socket, *arguments, script.name]
    return Run(command, script.parent, **changes)


def wait_for_session(host: Host, label: str, running: Run | None = None) -> str:
    """Wait until the session of this label is there, hence attached; return its id.

    Fails at once where the client that is to open it has ended.
    """
    found: list[str] = []

    def listed() -> bool:
        found[:] = [s.session_id for s in host.sessions() if s.label == label]
        ended = running is not None and running.process.poll() is not None
        assert not ended or found, running and running.end()
        return bool(found)

    wait_until(listed, f"session {label}")
    return found[0]


@contextmanager
def open_folder() -> Iterator[Path]:
    """A temporary folder that every user can enter; pytest's own are closed to others."""
    folder = Path(tempfile.mkdtemp(prefix="ptraced-test-"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)
