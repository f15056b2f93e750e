"""The process that finds symbols: its answers, its death, and what does not wait for it."""

from __future__ import annotations

import os
import select
import shutil
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ptrace_proto import ptrace_pb2 as pb
from ptraced.symbols import symbolizer as module
from ptraced.symbols.symbolizer import Symbolizer
from symbolprograms import build, running

# Seconds that something may take which happens at once on a machine that does nothing else.
SOON = 60.0


class Answers:
    """What a symbolizer has answered, and a wait for more of it."""

    def __init__(self) -> None:
        self.stacks: list[pb.Stack] = []
        self.pythons: list[tuple[int, str]] = []
        self._changed = threading.Condition()

    def take(self, found: list[tuple[int, bytes]]) -> None:
        with self._changed:
            for stack_id, data in found:
                stack = pb.Stack.FromString(data)
                assert stack.id == stack_id
                self.stacks.append(stack)
            self._changed.notify()

    def wait_for(self, count: int) -> list[pb.Stack]:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.stacks) >= count, SOON)
            return self.stacks

    def names(self) -> list[str]:
        return [frame.symbol for stack in self.stacks for frame in stack.frames]


@pytest.fixture
def answers() -> Answers:
    return Answers()


@pytest.fixture
def symbolizer(answers: Answers) -> Iterator[Symbolizer]:
    running = Symbolizer(answers.take, lambda pid, path: answers.pythons.append((pid, path)))
    yield running
    running.close()


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("programs"))


def words(*numbers: int) -> bytes:
    return struct.pack(f"={len(numbers)}Q", *numbers)


def ask(symbolizer: Symbolizer, stack_id: int, pid: int, *user: int) -> None:
    symbolizer.stack(stack_id, pid, time.monotonic_ns(), b"", words(*user))


def test_stacks_come_back_with_their_names(
    symbolizer: Symbolizer, answers: Answers, program: Path
) -> None:
    with running(program) as (pid, main, _, _):
        ask(symbolizer, 7, pid, main + 1, 0x1234)
        (stack,) = answers.wait_for(1)

    assert stack == pb.Stack(
        id=7,
        frames=[
            pb.Frame(address=main + 1, symbol="main", offset=1, dso=str(program)),
            pb.Frame(address=0x1234),
        ],
    )


def test_there_is_no_process_before_it_is_needed(symbolizer: Symbolizer) -> None:
    assert symbolizer.pid is None


def test_many_stacks_are_each_answered_once_and_in_order(
    symbolizer: Symbolizer, answers: Answers
) -> None:
    for stack_id in range(1, 5001):
        ask(symbolizer, stack_id, 2**22 + 1, stack_id)
    found = answers.wait_for(5000)

    assert [stack.id for stack in found] == list(range(1, 5001))
    assert [stack.frames[0].address for stack in found] == list(range(1, 5001))
    assert symbolizer.overflowed == 0


def test_what_a_killed_process_was_asked_is_answered_and_the_next_one_works(
    symbolizer: Symbolizer, answers: Answers, program: Path
) -> None:
    with running(program) as (pid, main, _, _):
        ask(symbolizer, 1, pid, main)
        answers.wait_for(1)
        first = symbolizer.pid
        assert first is not None
        os.kill(first, signal.SIGSTOP)
        ask(symbolizer, 2, pid, main)
        ask(symbolizer, 3, pid, main)
        os.kill(first, signal.SIGKILL)
        answers.wait_for(3)
        # Those that it did not take any more may have gone to its successor.
        for stack_id in range(4, 7):
            ask(symbolizer, stack_id, pid, main)
        answers.wait_for(6)

    assert sorted(stack.id for stack in answers.stacks) == [1, 2, 3, 4, 5, 6]
    names = {stack.id: stack.frames[0].symbol for stack in answers.stacks}
    assert names[1] == names[6] == "main"
    assert all(stack.frames[0].address == main for stack in answers.stacks)
    assert symbolizer.pid not in (None, first)


def test_a_process_that_hangs_is_ended_and_its_stacks_are_answered(
    symbolizer: Symbolizer, answers: Answers, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask(symbolizer, 1, 2**22 + 1, 5)
    answers.wait_for(1)
    first = symbolizer.pid
    assert first is not None
    monkeypatch.setattr(module, "_PATIENCE", 0.1)
    monkeypatch.setattr(module, "_LOOK_EVERY", 0.05)
    os.kill(first, signal.SIGSTOP)
    ask(symbolizer, 2, 2**22 + 1, 6)

    assert answers.wait_for(2)[1] == pb.Stack(id=2, frames=[pb.Frame(address=6)])


def test_more_than_can_wait_is_answered_at_once_without_names(
    symbolizer: Symbolizer, answers: Answers, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask(symbolizer, 1, 2**22 + 1, 5)
    answers.wait_for(1)
    assert symbolizer.pid is not None
    monkeypatch.setattr(symbolizer._queue, "_most_stacks", 10)
    os.kill(symbolizer.pid, signal.SIGSTOP)
    # More than the pipe takes.
    symbolizer.task_records(0, bytes(1 << 20))
    for stack_id in range(2, 102):
        symbolizer.stack(stack_id, 2**22 + 1, 1, words(7), words(8))
    answers.wait_for(1 + 90)

    assert 90 <= symbolizer.overflowed <= 100
    stack = answers.stacks[-1]
    assert stack.frames == [pb.Frame(address=7, kernel=True), pb.Frame(address=8)]
    os.kill(symbolizer.pid, signal.SIGCONT)
    assert sorted(stack.id for stack in answers.wait_for(101)) == list(range(1, 102))


def test_records_that_were_dropped_are_missed(
    symbolizer: Symbolizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[bytes] = []
    monkeypatch.setattr(module, "_BYTES_MAX", -1)
    symbolizer.task_records(0, b"dropped")
    monkeypatch.undo()
    monkeypatch.setattr(symbolizer._queue, "put_records", sent.append)
    symbolizer.task_records(0, b"next")
    symbolizer.task_records(0, b"last")

    assert [message[5:] for message in sent] == [module.LOST_RECORD + b"next", b"last"]


def test_a_process_that_cannot_live_is_not_started_again_and_again(
    symbolizer: Symbolizer, answers: Answers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    starts = tmp_path / "starts"
    dying = tmp_path / "python"
    dying.write_text(f"#!/bin/sh\necho >>{starts}\nexit 1\n")
    dying.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(dying))

    for stack_id in range(1, 21):
        ask(symbolizer, stack_id, 1, 5)
        answers.wait_for(stack_id)

    assert {len(stack.frames) for stack in answers.stacks} == {1}
    assert answers.names() == [""] * 20
    assert len(starts.read_text().splitlines()) == module._STARTS_MAX


def test_what_waits_is_answered_at_the_end(answers: Answers) -> None:
    symbolizer = Symbolizer(answers.take)
    ask(symbolizer, 1, 2**22 + 1, 5)
    answers.wait_for(1)
    pid = symbolizer.pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    for stack_id in (2, 3):
        ask(symbolizer, stack_id, 2**22 + 1, 5)
    symbolizer.close()

    assert sorted(stack.id for stack in answers.stacks) == [1, 2, 3]
    assert not Path(f"/proc/{pid}").exists()
    # Of what comes later there is no answer, and no harm.
    ask(symbolizer, 4, 2**22 + 1, 5)
    symbolizer.task_records(0, b"")
    assert len(answers.stacks) == 3


def test_an_unused_one_closes(answers: Answers) -> None:
    Symbolizer(answers.take).close()
    assert answers.stacks == []


def test_an_error_of_who_takes_the_answers_stops_nothing(answers: Answers) -> None:
    def take(found: list[tuple[int, bytes]]) -> None:
        answers.take(found)
        raise ValueError("not taken")

    symbolizer = Symbolizer(take)
    for stack_id in (1, 2):
        ask(symbolizer, stack_id, 2**22 + 1, 5)
        answers.wait_for(stack_id)
    symbolizer.close()


def test_interpreters_without_a_map_are_told(
    symbolizer: Symbolizer, answers: Answers, program: Path, tmp_path: Path
) -> None:
    python = shutil.copy(program, tmp_path / "python3.12")
    with running(python) as (pid, main, _, _):
        start = time.monotonic_ns()
        for number, later in enumerate((0, 10**9)):
            symbolizer.stack(number + 1, pid, start + later, b"", words(main))
        answers.wait_for(2)

    assert answers.pythons == [(pid, str(python))]


def test_the_process_ends_with_the_daemon() -> None:
    code = (
        "import os, time; from ptraced.symbols.symbolizer import Symbolizer\n"
        "done = []\n"
        "s = Symbolizer(done.extend)\n"
        "s.stack(1, 1, 1, b'', bytes(8))\n"
        "while not done: time.sleep(0.01)\n"
        "print(s.pid, flush=True)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    worker = os.pidfd_open(int(said.stdout)) if Path(f"/proc/{said.stdout.strip()}").exists() else 0
    if worker:
        poll = select.poll()
        poll.register(worker)
        assert poll.poll(SOON * 1000)
        os.close(worker)
