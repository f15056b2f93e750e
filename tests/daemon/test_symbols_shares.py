"""Nobody's files keep the process for symbols from the stacks of others."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest

from ptraced.symbols import jit, proc, resolver, shares, worker
from ptraced.symbols.messages import ANYBODY, STACK_HEAD, Kind, Splitter
from ptraced.symbols.shares import Shares
from ptraced.task_records import Mmap2
from symbolprograms import NoKernel, frames

ANN, BEN = 71, 72


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The clock. Processes 10 to 19 are Ann's, others Ben's."""
    monkeypatch.setattr(proc, "owner", lambda pid: proc.Owner(ANN if 10 <= pid < 20 else BEN, pid))
    return [1000.0]


def test_who_has_used_much_waits_and_others_do_not(now: list[float]) -> None:
    kept = Shares(lambda: now[0])
    kept.charge(10, shares._MOST)
    assert kept.may(10)
    kept.charge(11, 1.0)
    assert [kept.may(pid) for pid in (10, 11, 12, 20)] == [False, False, False, True]
    # The one second too many is forgotten.
    now[0] += 1.0 / shares._FORGOTTEN
    assert kept.may(10)
    now[0] += shares._MOST / shares._FORGOTTEN
    kept.charge(10, shares._MOST)
    assert kept.may(10)


def test_what_is_cheap_is_not_counted(now: list[float]) -> None:
    kept = Shares(lambda: now[0])
    for _ in range(10_000):
        kept.charge(10, 0.001)
    assert kept.may(10)


def test_those_who_are_gone_are_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(pid: int) -> proc.Owner:
        raise ProcessLookupError

    kept = Shares(lambda: 0.0)
    with monkeypatch.context() as patch:
        patch.setattr(proc, "owner", gone)
        kept.charge(2**22 + 1, 2 * shares._MOST)
        assert not kept.may(2**22 + 2)
    assert kept.may(os.getpid())


def asked(finder: worker.Worker, pid: int) -> tuple[int, list[tuple[str, int, str]]]:
    """The kind of the answer to a stack, and its frames."""
    body = STACK_HEAD.pack(1, pid, 100, 0, ANYBODY) + struct.pack("=Q", 0x1234)
    finder.take(Kind.STACK, memoryview(body))
    ((kind, answer),) = Splitter().feed(finder.answers.pop())
    finder.answers.clear()
    return kind, frames(bytes(answer[4:]))


def test_stacks_of_who_has_used_much_are_given_up_for_now(now: list[float]) -> None:
    finder = worker.Worker(NoKernel())
    finder._shares = Shares(lambda: now[0])
    finder._shares.charge(10, 2 * shares._MOST)
    assert asked(finder, 11) == (Kind.GIVEN_UP, [("", 0, "")])
    assert asked(finder, 21)[0] == Kind.RESOLVED


def test_the_work_of_a_stack_is_counted(now: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    finder = worker.Worker(NoKernel())
    ticks = iter([0.0, 2 * shares._MOST, 20.0, 20.0])
    monkeypatch.setattr(worker, "thread_time", lambda: next(ticks))
    assert asked(finder, 10)[0] == Kind.RESOLVED
    assert asked(finder, 10)[0] == Kind.GIVEN_UP


def test_who_uses_up_the_memory_does_not_do_so_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    finder = worker.Worker(NoKernel())
    history = finder._resolver.history

    def stack(*_: object) -> bytes:
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(finder._resolver, "stack", stack)
        finder.take(Kind.STACK, memoryview(STACK_HEAD.pack(1, 10, 100, 0, ANYBODY)))
    assert finder._resolver.history is not history


def test_maps_of_all_processes_are_bounded_and_the_largest_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def opened(pid: int) -> tuple[str, jit.FileData]:
        path = str(tmp_path / f"{pid}.map")
        return path, jit.open_regular(path)

    monkeypatch.setattr(jit, "open_map", opened)
    monkeypatch.setattr(proc, "shown_to", lambda pid: 0)
    monkeypatch.setattr(resolver, "_JIT_MAPS_BYTES_MAX", 1000 * jit._FUNCTION_BYTES)
    finder = resolver.Resolver(NoKernel())
    pids = [2**22 + number for number in range(1, 4)]
    for pid, functions in zip(pids, (10, 600, 600), strict=True):
        lines = (f"{number:x}0 10 f{number}\n" for number in range(1, functions + 1))
        (tmp_path / f"{pid}.map").write_text("".join(lines))
        finder.history.apply(Mmap2(pid, pid, 0, 0x10000, 0, "//anon", None, None, 1))
        found = frames(finder.stack(1, pid, 2, [], [0x10, 0x20]))
        assert [name for name, _, _ in found] == ["f1", "f1"]
    kept = [finder.history.space(pid, 2).jit for pid in pids]
    finder.close()

    assert kept[0] is not None
    assert sum(one is not None for one in kept) == 2
