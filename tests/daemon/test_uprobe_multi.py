"""Both ways to hang a program on a library: a breakpoint appears in memory, and goes again."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ptraced import bpf_maps, perf_event, uprobe_multi

pytestmark = pytest.mark.needs_kernel("uprobes")

RETURN_ZERO = bytes.fromhex("b700000000000000 9500000000000000")
# A function that nobody here calls while these tests run.
FUNCTION = ctypes.CDLL(None).l64a


def place() -> tuple[Path, int]:
    """The library of FUNCTION, and where it is in that file."""
    address = ctypes.cast(FUNCTION, ctypes.c_void_p).value or 0
    for line in Path("/proc/self/maps").read_text().splitlines():
        span, _, offset, _, _, *path = line.split()
        start, end = (int(part, 16) for part in span.split("-"))
        if start <= address < end:
            return Path(path[0]), address - start + int(offset, 16)
    raise AssertionError("not mapped")


def code() -> bytes:
    return ctypes.string_at(ctypes.cast(FUNCTION, ctypes.c_void_p).value or 0, 4)


def by_link(file: int, offset: int, returns: bool, pid: int = 0) -> tuple[int, int]:
    if not uprobe_multi.is_available():
        pytest.skip("this kernel has no such links")
    kind = bpf_maps.PROG_KPROBE
    program = bpf_maps.load_program(kind, "test", RETURN_ZERO, uprobe_multi.ATTACH_TYPE)
    return program, uprobe_multi.attach(program, file, offset, 0, returns, pid)


def by_perf_event(file: int, offset: int, returns: bool, pid: int = 0) -> tuple[int, int]:
    program = bpf_maps.load_program(bpf_maps.PROG_KPROBE, "test", RETURN_ZERO)
    return program, perf_event.attach_uprobe(file, offset, 0, returns, program, 0, pid)


@pytest.mark.parametrize("returns", [False, True])
@pytest.mark.parametrize("attach", [by_link, by_perf_event])
def test_a_breakpoint_lasts_until_its_descriptor_is_closed(
    attach: Callable[[int, int, bool], tuple[int, int]], returns: bool
) -> None:
    path, offset = place()
    untouched = code()
    file = os.open(path, os.O_RDONLY)

    program, attached = attach(file, offset, returns)
    os.close(file)
    with_breakpoint = code()
    os.close(attached)
    os.close(program)

    assert with_breakpoint != untouched
    assert code() == untouched


@pytest.mark.parametrize("attach", [by_link, by_perf_event])
def test_a_place_behind_the_files_end_is_refused(
    attach: Callable[[int, int, bool], tuple[int, int]], tmp_path: Path
) -> None:
    empty = tmp_path / "empty"
    empty.touch()
    file = os.open(empty, os.O_RDONLY)

    with pytest.raises(OSError, match="Invalid argument"):
        attach(file, 4096, False)

    os.close(file)


def code_of(process: subprocess.Popen[bytes]) -> bytes:
    """What code() is in another process that runs the same program."""
    path, offset = place()
    lines = Path(f"/proc/{process.pid}/maps").read_text().splitlines()
    start = next(int(line.partition("-")[0], 16) for line in lines if line.endswith(str(path)))
    with open(f"/proc/{process.pid}/mem", "rb", buffering=0) as memory:
        memory.seek(start + offset)
        return memory.read(4)


@pytest.fixture
def others() -> Iterator[tuple[subprocess.Popen[bytes], subprocess.Popen[bytes]]]:
    """Two processes that have the library mapped."""
    command = [sys.executable, "-c", "print(flush=True); input()"]
    both = tuple(
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) for _ in range(2)
    )
    for one in both:
        assert one.stdout is not None
        one.stdout.readline()
    yield both[0], both[1]
    for one in both:
        one.communicate(b"\n")


@pytest.mark.parametrize("attach", [by_link, by_perf_event])
def test_one_process_has_the_breakpoint(
    attach: Callable[[int, int, bool, int], tuple[int, int]],
    others: tuple[subprocess.Popen[bytes], subprocess.Popen[bytes]],
) -> None:
    path, offset = place()
    untouched = code()
    file = os.open(path, os.O_RDONLY)

    program, attached = attach(file, offset, False, others[0].pid)
    seen = [code_of(others[0]) == untouched, code_of(others[1]) == untouched, code() == untouched]
    os.close(attached)
    os.close(program)
    os.close(file)

    assert seen == [False, True, True]
    assert code_of(others[0]) == untouched


@pytest.mark.parametrize("attach", [by_link, by_perf_event])
def test_a_process_that_is_not_there(
    attach: Callable[[int, int, bool, int], tuple[int, int]],
) -> None:
    path, offset = place()
    ended = subprocess.Popen(["true"])
    ended.wait()
    file = os.open(path, os.O_RDONLY)

    with pytest.raises(ProcessLookupError):
        attach(file, offset, False, ended.pid)

    os.close(file)
