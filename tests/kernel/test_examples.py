"""Each ready analysis on real events of a workload whose result is known, run by nobody."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from commandline import PTRACE_CLIENT, Run, open_folder, wait_for_session
from leftovers import wait_until
from processes import Calls, Daemon
from users import SMALLER_BUFFER, start_daemon

from unprivileged import as_user

Work = Callable[[], object]
Analyse = Callable[..., list[str]]


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    """A daemon without root, which starts as fast as another one."""
    with open_folder() as folder:
        running = start_daemon(folder)
        yield running
        assert running.stop() == 0


@pytest.fixture
def analyse(daemon: Daemon) -> Analyse:
    """Runs @NAME as nobody over some work, ends it by Ctrl-C, returns what it printed."""

    def run(name: str, work: Work, *words: str) -> list[str]:
        command = [PTRACE_CLIENT, "run", "--socket", daemon.socket, "-q", f"@{name}", *words]
        with Run(as_user(command), Path("/")) as running, daemon.connect() as host:
            wait_for_session(host, f"{name}.py", running)
            wait_until(lambda: catches(running.process.pid, signal.SIGTERM), "the run began")
            work()
            running.signal(signal.SIGINT)
            ended = running.end()
        assert (ended.status, SMALLER_BUFFER.sub("", ended.err)) == (0, ""), ended
        return ended.out.splitlines()

    return run


def catches(pid: int, number: signal.Signals) -> bool:
    """Whether a process has a handler for a signal: proc_pid_status(5)."""
    status = Path(f"/proc/{pid}/status").read_text()
    (caught,) = re.findall(r"^SigCgt:\t([0-9a-f]+)$", status, re.MULTILINE)
    return bool(int(caught, 16) >> (number - 1) & 1)


def table(lines: list[str], *head: str) -> list[list[str]]:
    """The rows of the table below this head, to the end of the output, as words."""
    rows = [line.split() for line in lines]
    return rows[rows.index(list(head)) + 1 :]


def busy(milliseconds: int, cpu: int) -> subprocess.Popen[bytes]:
    """A process that wants a CPU for so much time of its own."""
    text = (
        f"import os, time; os.sched_setaffinity(0, [{cpu}])\n"
        f"while time.process_time() < {milliseconds / 1000}: pass"
    )
    return subprocess.Popen([sys.executable, "-S", "-c", text])


def test_wakeup_latency(analyse: Analyse, calls: Callable[..., Calls]) -> None:
    # GIVEN a program that sleeps until it reads a line
    program = calls(1)

    def wake() -> None:
        program.make()
        program.end()

    events = (
        f"sched:sched_wakeup*/pid=={program.pid}/",
        f"sched:sched_switch/next_pid=={program.pid}||prev_pid=={program.pid}/",
    )
    second, *histogram = analyse("wakeup-latency", wake, "-e", events[0], "-e", events[1])

    # THEN it was woken for the line, and where it went to sleep again for the end of its input
    match = re.fullmatch(
        r" *(\d+) wake-ups   p50 +\d+\.\d   p99 +\d+\.\d   max +\d+\.\d us   calls", second
    )
    assert match is not None
    for line in histogram:
        assert re.fullmatch(r" +\d+ us +\d+ \|#*", line)
    assert sum(int(line.split()[2]) for line in histogram) == int(match[1]) >= 1


def test_run_queue(analyse: Analyse) -> None:
    def compete() -> None:
        for process in [busy(150, 0) for _ in range(4)]:
            assert process.wait() == 0

    lines = analyse("run-queue", compete)

    rows = table(lines, "WAITING", "CPU-MS", "PERCENT")
    spent = {length: float(milliseconds) for length, milliseconds, _ in rows}
    # While all four run there is always one that runs and three that wait: for 4 * 150 ms, but
    # for what they differ by at start and end.
    assert sum(time for length, time in spent.items() if length not in ("0", "1")) > 300
    assert sum(float(percent) for _, _, percent in rows) == pytest.approx(100, abs=0.5)
    assert any(
        re.match(r"CPU   0   waiting: average +\d+\.\d\d   most +\d+", line) for line in lines
    )


def test_syscalls(analyse: Analyse, calls: Callable[..., Calls]) -> None:
    program = calls(200_000, 1)

    def make() -> None:
        program.make()
        program.end()

    lines = analyse("syscalls", make, "-p", str(program.pid), "--rows", "100")

    made = re.fullmatch(r"(\d+) system calls, 0 events lost", lines[0])
    assert made is not None
    head = ("CALL", "COUNT", "FAILED", "TOTAL-MS", "AVERAGE-US", "P99-US", "MAX-US")
    rows = table(lines, *head)
    counts = {row[0]: int(row[1]) for row in rows}
    assert counts["getppid"] == 200_000
    # Other than exit_group, which does not return.
    assert set(counts) >= {"getppid", "read", "write"}
    assert "exit_group" not in counts
    assert sum(counts.values()) == int(made[1])
    for _, count, _, total, average, _, most in rows:
        assert float(average) * int(count) / 1000 == pytest.approx(float(total), rel=0.6, abs=0.1)
        assert float(average) <= float(most)
