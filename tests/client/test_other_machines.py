"""Recordings are read on machines that are not Linux, too: without what Python has only there."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from perf_files import two_events, wakeup_raw, written

from ptrace_client.perf_data.model import RecordKind

# The client in a Python that lacks modules and names as on Windows, and Linux's folders.
ELSEWHERE = """\
import builtins, mmap, os, select, signal, socket, sys
import numpy
LACKING = {
    os: "O_PATH O_NONBLOCK O_CLOEXEC O_NOCTTY O_NOFOLLOW pread fork getuid geteuid uname waitid "
        "P_PID WEXITED WNOWAIT sched_getaffinity sysconf pidfd_open",
    select: "poll epoll",
    signal: "SIGUSR1 SIGUSR2 SIGPIPE SIGXFSZ SIGHUP SIGQUIT SIGKILL SIGCHLD pthread_sigmask",
    mmap: "PROT_READ MAP_PRIVATE MAP_SHARED MADV_DONTNEED",
    socket: "AF_UNIX SO_PEERCRED",
}
for module, names in LACKING.items():
    for name in names.split():
        delattr(module, name)
for name in "fcntl", "pwd", "grp", "resource", "termios":
    sys.modules[name] = None
reading = builtins.open
def open_elsewhere(file, *rest, **more):
    if str(file).startswith(("/proc", "/sys")):
        raise FileNotFoundError(2, "no such file", file)
    return reading(file, *rest, **more)
builtins.open = open_elsewhere
from ptrace_client.cli import main
sys.argv[0] = "ptrace-client"
sys.exit(main())
"""
PERFS = """\
def process_event(event):
    print(event["ev_name"], event["dso"], event["sample"]["ip"])
def sched__sched_wakeup(event_name, context, cpu, secs, nsecs, pid, comm, callchain, value):
    print(event_name, value)
"""
OWN = """\
def sched__sched_wakeup(event):
    print(event.value)
def cpu_clock_u(event):
    print(event.ip)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Has perf.data, with a wakeup, and a sample in the first function of Python's program."""
    program = os.path.realpath(sys.executable)
    made = two_events()
    name = program.encode() + b"\0" * (8 - len(program) % 8)
    body = made.pack("IIQQQ", 7, 7, 0x1000, 0x10000000, 0) + name
    made.record(RecordKind.MMAP, body + made.trailer(21, 1), misc=2)
    made.sample(11, 10, tail=wakeup_raw(made, 99))
    made.sample(21, 20)
    written(tmp_path, made.file())
    (tmp_path / "elsewhere.py").write_text(ELSEWHERE)
    (tmp_path / "perfs.py").write_text(PERFS)
    (tmp_path / "own.py").write_text(OWN)
    return tmp_path


@pytest.mark.parametrize(
    ("command", "text"),
    [
        ("run -i perf.data perfs.py", "sched__sched_wakeup 99\n"),
        ("report perfs.py", f"cpu-clock:u {os.path.realpath(sys.executable)} "),
        ("run -q -i perf.data own.py", "99\n"),
        ("run -o out -i perf.data own.py", ""),
        ("trace -i perf.data", "sched:sched_wakeup: value=99"),
        ("template -i perf.data --dialect perf-script", "def sched__sched_wakeup("),
        ("scripts", "@profile"),
    ],
)
def test_a_recording_on_another_system(folder: Path, command: str, text: str) -> None:
    done = subprocess.run(
        [sys.executable, "elsewhere.py", *command.split()],
        cwd=folder,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert text in done.stdout
