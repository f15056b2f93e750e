"""Scripts by name as users run them: live on a command, recorded and reported, until Ctrl-C.

They are those that perf ships, and perf itself is what their output is compared with.
"""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from commandline import PTRACE_CLIENT, Ended, environment, open_folder, wait_for_session
from processes import Daemon
from users import SMALLER_BUFFER, start_daemon

from unprivileged import as_user

HERE = Path(__file__).parent
PERFS = Path("/usr/lib/perf-core/scripts/python")


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    """A daemon without root."""
    with open_folder() as folder:
        running = start_daemon(folder)
        yield running
        assert running.stop() == 0


@pytest.fixture(scope="module")
def known() -> Iterator[str]:
    """The program that makes known calls, linked so that it makes few others."""
    with open_folder() as folder:
        binary = folder / "known"
        subprocess.run(["gcc", "-static", "-o", binary, HERE / "known_calls.c"], check=True)
        yield str(binary)


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder in which nobody may write."""
    with open_folder() as folder:
        folder.chmod(0o777)
        yield folder


def run(daemon: Daemon, folder: Path, *words: str, **options: bytes) -> Ended:
    """Run ptrace-client as nobody, with this daemon."""
    done = subprocess.run(
        as_user([PTRACE_CLIENT, *words]),
        cwd=folder,
        env=environment(PTRACED_SOCKET=str(daemon.socket)),
        capture_output=True,
        check=False,
        **options,  # type: ignore[call-overload]
    )
    return Ended(
        done.returncode, done.stdout.decode(), SMALLER_BUFFER.sub("", done.stderr.decode())
    )


def counts(text: str) -> dict[str, int]:
    """The rows of a table of names and numbers."""
    rows = re.findall(r"^(\S+) +(\d+)$", text, re.MULTILINE)
    return {name: int(count) for name, count in rows}


def perf_live(name: str, command: Sequence[str], folder: Path) -> str:
    """What perf's live mode prints for a script."""
    done = subprocess.run(
        ["perf", "script", name, *command],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


class TestLive:
    def test_it_gives_what_perf_gives(self, daemon: Daemon, folder: Path, known: str) -> None:
        # WHEN a command is traced
        ended = run(daemon, folder, "run", "syscall-counts", "--", known)
        # THEN it is said what of it, and the script sees what it does under perf
        record = PERFS / "bin/syscall-counts-record"
        assert (ended.status, ended.err) == (
            0,
            f"ptrace-client: events of {record}: raw_syscalls:sys_enter\n",
        )
        ours, perfs = counts(ended.out), counts(perf_live("syscall-counts", [known], folder))
        assert (ours["getppid"], ours["rmdir"]) == (300, 200)
        # perf begins within the call that starts the program.
        assert ours.pop("execve") == 1
        assert ours == perfs

    def test_arguments_before_the_command(self, daemon: Daemon, folder: Path, known: str) -> None:
        ended = run(daemon, folder, "run", "-q", "syscall-counts", "other", "--", known)
        assert "syscall events for other:" in ended.out
        assert counts(ended.out) == {}

    def test_failures_have_names(self, daemon: Daemon, folder: Path, known: str) -> None:
        ended = run(daemon, folder, "run", "-q", "failed-syscalls-by-pid", "--", known)
        assert ended.status == 0, ended.err
        assert re.search(r"^  syscall: rmdir +\n    err = ENOENT +200$", ended.out, re.MULTILINE)

    def test_sampled_with_call_chains(self, daemon: Daemon, folder: Path) -> None:
        busy = "import time\nwhile time.process_time() < 0.5: pass"
        command = [sys.executable, "-S", "-c", busy]
        words = "run", "flamegraph", "--", "-f", "json", "-o", "-", "--", *command
        ended = run(daemon, folder, *words)
        assert ended.status == 0, ended.err
        record = PERFS / "bin/flamegraph-record"
        assert ended.err.startswith(f"ptrace-client: events of {record} with -g: cpu-clock\n")
        assert '"n": "_PyEval_EvalFrameDefault"' in ended.out

    def test_until_ctrl_c(self, daemon: Daemon, folder: Path, known: str) -> None:
        # GIVEN perf's table of all system calls on a terminal
        ours, theirs = pty.openpty()
        with open(ours, "rb", buffering=0) as screen:
            process = subprocess.Popen(
                as_user([PTRACE_CLIENT, "run", "-q", "sctop", "1"]),
                cwd=folder,
                env=environment(PTRACED_SOCKET=str(daemon.socket)),
                stdin=subprocess.DEVNULL,
                stdout=theirs,
                stderr=theirs,
            )
            os.close(theirs)
            with daemon.connect() as host, process:
                wait_for_session(host, "sctop.py")
                # WHEN somebody makes calls THEN they are in it
                shown = b""
                while not re.search(rb"getppid +\d+\r\n", shown):
                    subprocess.run(as_user([known]), check=True)
                    shown = shown[-4096:] + os.read(ours, 65536)
                assert b"\x1b[H\x1b[2J" in shown
                # WHEN it is interrupted THEN it ends
                process.send_signal(signal.SIGINT)
                try:
                    while screen.read(65536):
                        pass
                except OSError:
                    # The terminal is gone.
                    pass
                assert process.wait(60) == 0


class TestRecorded:
    def test_record_and_report(self, daemon: Daemon, folder: Path, known: str) -> None:
        # WHEN a script's events are recorded
        ended = run(daemon, folder, "record", "syscall-counts", known)
        assert ended.status == 0, ended.err
        said = ended.err.splitlines()
        assert said[0].endswith("bin/syscall-counts-record: raw_syscalls:sys_enter")
        assert re.search(r"\d+ samples, .* written to perf.data, lost none$", said[1])
        # THEN the script reports on them, the same under perf
        ended = run(daemon, folder, "report", "syscall-counts")
        assert (ended.status, ended.err) == (0, "")
        assert counts(ended.out)["getppid"] == 300
        # perf reads no files of others.
        os.chown(folder / "perf.data", 0, 0)
        done = subprocess.run(
            ["perf", "script", "report", "syscall-counts"],
            cwd=folder,
            env=environment(),
            capture_output=True,
            text=True,
            check=True,
        )
        assert ended.out == done.stdout

    def test_all_tasks_while_a_command_runs(self, daemon: Daemon, folder: Path, known: str) -> None:
        # GIVEN a command that has another process, which is not its child, make the calls
        asked, done = folder / "asked", folder / "done"
        for fifo in asked, done:
            os.mkfifo(fifo)
            fifo.chmod(0o666)
        other = subprocess.Popen(as_user(["sh", "-c", f"cat {asked}; {known}; echo >{done}"]))
        with other:
            # WHEN it is recorded with -a THEN they are in the recording
            words = "sh", "-c", f"echo >{asked}; cat {done}"
            ended = run(daemon, folder, "record", "-q", "-a", "syscall-counts", *words)
        assert ended.status == 0, ended.err
        assert counts(run(daemon, folder, "report", "syscall-counts").out)["rmdir"] == 200

    def test_through_a_pipe(self, daemon: Daemon, folder: Path, known: str) -> None:
        words = "record", "-q", "-o", "-", "failed-syscalls-by-pid", "--", known
        process = subprocess.run(
            as_user([PTRACE_CLIENT, *words]),
            cwd=folder,
            env=environment(PTRACED_SOCKET=str(daemon.socket)),
            stdout=subprocess.PIPE,
            check=True,
        )
        ended = run(
            daemon, folder, "report", "-i", "-", "failed-syscalls-by-pid", input=process.stdout
        )
        assert ended.status == 0, ended.err
        assert re.search(r"^  syscall: rmdir +\n    err = ENOENT +200$", ended.out, re.MULTILINE)
