"""Symbols of real processes that are gone, with nothing but what the kernel told of them."""

from __future__ import annotations

import mmap
import os
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ptrace_proto import ptrace_pb2 as pb
from ptraced.perf_event import Ring, task_attr
from ptraced.scope import online_cpus
from ptraced.symbols.symbolizer import Symbolizer
from symbolprograms import build, demangled, running, symbols
from unprivileged import DAEMON_CAPABILITIES, as_user

pytestmark = pytest.mark.needs_kernel("perf events")
# Seconds that a wait takes at most.
SOON = 60.0
PAGES = 256


class Found:
    """Resolved stacks by id."""

    def __init__(self) -> None:
        self.stacks: dict[int, pb.Stack] = {}
        self._changed = threading.Condition()

    def take(self, found: list[tuple[int, bytes]]) -> None:
        with self._changed:
            self.stacks.update((number, pb.Stack.FromString(data)) for number, data in found)
            self._changed.notify()

    def wait_for(self, count: int) -> dict[int, pb.Stack]:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.stacks) >= count, SOON)
            return self.stacks


@pytest.fixture
def found() -> Found:
    return Found()


@pytest.fixture
def symbolizer(found: Found) -> Iterator[Symbolizer]:
    running = Symbolizer(found.take)
    yield running
    running.close()


@pytest.fixture
def rings() -> Iterator[list[Ring]]:
    opened = [Ring(cpu, PAGES, task_attr(PAGES * mmap.PAGESIZE // 2)) for cpu in online_cpus()]
    yield opened
    for ring in opened:
        ring.close()


def forward(rings: list[Ring], symbolizer: Symbolizer) -> None:
    buffer = memoryview(bytearray(PAGES * mmap.PAGESIZE))
    for ring in rings:
        symbolizer.task_records(ring.cpu, bytes(ring.read(buffer)))


def words(*numbers: int) -> bytes:
    return struct.pack(f"={len(numbers)}Q", *numbers)


def run(program: Path) -> tuple[int, int, int, int]:
    """Run a program to its end: its pid, main(), getppid(), and the time that it told."""
    with subprocess.Popen([program, "-"], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        main, getppid, at, _ = process.stdout.read().split()
    return process.pid, int(main, 16), int(getppid, 16), int(at)


def test_hundreds_of_processes_have_symbols_after_their_end(
    tmp_path: Path, rings: list[Ring], symbolizer: Symbolizer, found: Found
) -> None:
    program = build(tmp_path)
    starts = symbols(program)
    names = [name for name in starts if starts[name][1] > 5]
    processes = []
    for _ in range(300):
        processes.append(run(program))
        forward(rings, symbolizer)
    # All are gone, and only now their stacks are asked for.
    for number, (pid, main, getppid, at) in enumerate(processes):
        assert not Path(f"/proc/{pid}").exists()
        bias = main - starts["main"][0]
        user = words(getppid + 3, *(bias + starts[name][0] + 2 for name in names))
        symbolizer.stack(number + 1, pid, at, b"", user)

    frames = [frame for stack in found.wait_for(300).values() for frame in stack.frames]
    assert len(frames) == 300 * (1 + len(names))
    assert sum(bool(frame.symbol) for frame in frames) >= 0.95 * len(frames)
    own = [frame for frame in frames if frame.dso == str(program) and frame.symbol]
    assert {frame.symbol for frame in own} <= {demangled(name) for name in names}
    assert {frame.offset for frame in own} == {2}


def test_a_process_is_resolved_by_its_records_alone(
    tmp_path: Path, rings: list[Ring], symbolizer: Symbolizer, found: Found
) -> None:
    """Those of other users' processes, which /proc may not show to a daemon without root."""
    program = build(tmp_path)
    with running(program) as (pid, main, getppid, at):
        forward(rings, symbolizer)
        symbolizer.stack(1, pid, at, b"", words(getppid, main + 1))
        names = [frame.symbol for frame in found.wait_for(1)[1].frames]
    assert "getppid" in names[0]
    assert names[1] == "main"


@pytest.mark.needs_kernel("BPF programs")
@pytest.mark.skipif(os.geteuid() != 0, reason="becoming other users needs root")
def test_with_the_daemons_capabilities_alone(tmp_path: Path, found: Found) -> None:
    """Another user's process, and the kernel although its addresses are hidden."""
    tmp_path.chmod(0o755)
    for parent in tmp_path.parents[:2]:
        parent.chmod(0o755)
    program = build(tmp_path)
    code = (
        "import sys, threading, time, struct\n"
        "from ptraced.symbols.symbolizer import Symbolizer\n"
        "done = threading.Event()\n"
        "def take(found):\n"
        "    sys.stdout.buffer.write(found[0][1]); done.set()\n"
        "s = Symbolizer(take)\n"
        "pid, user, kernel = map(int, sys.argv[1:])\n"
        "word = struct.Struct('=Q')\n"
        "s.stack(1, pid, time.monotonic_ns(), word.pack(kernel), word.pack(user))\n"
        "done.wait(60); s.close()\n"
    )
    kernel = a_kernel_function()
    with running(*as_user([program], uid=4711)) as (pid, main, _, _):
        asked = [sys.executable, "-c", code, str(pid), str(main), str(kernel[1] + 1)]
        said = subprocess.run(
            as_user(asked, caps=DAEMON_CAPABILITIES), capture_output=True, check=True
        )
    in_kernel, in_user = pb.Stack.FromString(said.stdout).frames

    assert (in_kernel.symbol, in_kernel.offset) == (kernel[0], 1)
    # Kernels before 6.15 show the memory of others only with CAP_SYS_PTRACE.
    assert (in_user.symbol, in_user.dso) in (("main", str(program)), ("", ""))
    if memory_is_shown_to_perfmon():
        assert in_user.symbol == "main"


def a_kernel_function() -> tuple[str, int]:
    with open("/proc/kallsyms") as file:
        for line in file:
            address, kind, name, *module = line.split()
            if kind == "T" and name == "vfs_read" and not module:
                return name, int(address, 16)
    raise AssertionError("no vfs_read in the kernel")


def memory_is_shown_to_perfmon() -> bool:
    with subprocess.Popen(as_user(["sleep", "60"], uid=4711)) as other:
        try:
            command = as_user(["cat", f"/proc/{other.pid}/maps"], caps=("perfmon",))
            return subprocess.run(command, capture_output=True, check=False).returncode == 0
        finally:
            other.kill()


def test_a_hundred_thousand_frames_take_seconds_at_most(
    symbolizer: Symbolizer, found: Found, tmp_path: Path
) -> None:
    program = build(tmp_path)
    starts = symbols(program)
    with running(program) as (pid, main, _, _):
        bias = main - starts["main"][0]
        places = [bias + start + 1 for start, size in starts.values() if size > 1]
        before = time.monotonic()
        for number in range(5000):
            turned = places[number % len(places) :] + places
            symbolizer.stack(number + 1, pid, time.monotonic_ns(), b"", words(*turned[:20]))
        found.wait_for(5000)
        took = time.monotonic() - before
    assert symbolizer.overflowed == 0
    assert took < 20
