"""Processes and threads that a request names: whose they are, and that they stay what they were."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from commandline import open_folder
from ownership import Tracer
from reborn import born_as, ended
from streams import GETPPID

from ptrace_proto import ptrace_pb2 as pb
from ptraced import pins, program
from ptraced.errors import NotFound, PermissionRefused, TraceError
from ptraced.pins import Pin
from ptraced.scope import Scope, resolve_scope

pytestmark = pytest.mark.needs_kernel("BTF", "capabilities")
USER, OTHER = 61011, 61012
SLEEP = ("sleep", "1000")


@pytest.fixture(scope="module")
def tracer() -> Iterator[Tracer]:
    with open_folder() as folder:
        running = Tracer(folder)
        yield running
        running.close()


def as_user(uid: int, body: str, gid: int | None = None) -> list[str]:
    """A process that becomes a user's, and does what a text says."""
    group = uid if gid is None else gid
    become = (
        f"os.setgroups([]); os.setresgid({group}, {group}, {group}); os.setresuid(*[{uid}] * 3)"
    )
    text = f"import ctypes, os\n{become}\nctypes.CDLL(None).prctl(4, 1, 0, 0, 0)\n{body}"
    return [sys.executable, "-S", "-E", "-c", text]


@pytest.fixture
def start() -> Iterator[Callable[..., int]]:
    """Starts a process that waits, as a user and group; returns its number when it is that."""
    started: list[subprocess.Popen[str]] = []

    def start_one(uid: int, gid: int | None = None, more: str = "") -> int:
        command = as_user(uid, f"{more}\nprint(flush=True)\ninput()", gid)
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        started.append(process)
        assert process.stdout is not None
        process.stdout.readline()
        return process.pid

    yield start_one
    for process in started:
        process.kill()
        process.communicate()


def opened(tracer: Tracer, uid: int, selector: str = GETPPID, **where: Any) -> None:
    with tracer.tracing(uid, [selector], scope=pb.Scope(**where)):
        pass


def refused(tracer: Tracer, uid: int, selector: str = GETPPID, **where: Any) -> TraceError:
    with pytest.raises(TraceError) as caught:
        opened(tracer, uid, selector, **where)
    return caught.value


def test_own_processes_and_threads_may_be_named(tracer: Tracer, start: Callable[..., int]) -> None:
    own = start(USER)

    opened(tracer, USER, pids=[own])
    opened(tracer, USER, tids=[own])
    opened(tracer, USER, f"cpu-clock/-p {own}/")


NOT_DUMPABLE = "assert ctypes.CDLL(None).prctl(4, 0, 0, 0, 0) == 0"


def test_tasks_of_others_are_refused_by_their_number(
    tracer: Tracer, start: Callable[..., int]
) -> None:
    own = start(USER)
    others = {
        "another user's": start(OTHER),
        "root's": os.getpid(),
        "of another group": start(USER, OTHER),
        "not dumpable": start(USER, None, NOT_DUMPABLE),
        "a kernel thread": 2,
    }
    for what, pid in others.items():
        text = f"error: process {pid} is not yours: the policy allows you your own"
        for selector, where in (
            (GETPPID, {"pids": [own, pid]}),
            ("cpu-clock", {"pids": [pid]}),
            (f"cpu-clock/-p {pid}/", {}),
        ):
            error = refused(tracer, USER, selector, **where)
            assert isinstance(error, PermissionRefused), what
            assert str(error) == text, what
        as_thread = refused(tracer, USER, tids=[pid])
        assert str(as_thread) == text.replace("process", "thread"), what


def test_a_kernel_thread_is_not_roots_own_either(tracer: Tracer) -> None:
    assert isinstance(refused(tracer, 0, pids=[2]), PermissionRefused)
    opened(tracer, 0, pids=[os.getpid()])


def test_who_sees_all_tasks_may_name_any(tracer: Tracer, start: Callable[..., int]) -> None:
    opened(tracer, None, pids=[start(USER), 2], tids=[start(OTHER)])
    opened(tracer, None, f"cpu-clock/-p {start(USER, None, NOT_DUMPABLE)}/")


def test_where_proc_hides_others_they_are_not_there(
    tracer: Tracer, start: Callable[..., int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ptraced.policy.processes.shows_others", lambda caller: False)
    there, free = start(OTHER), free_number()

    for pid in (there, free):
        error = refused(tracer, USER, pids=[pid])
        assert isinstance(error, NotFound)
        assert str(error) == f"error: no process {pid}: it may have exited, or never was"
    opened(tracer, USER, pids=[start(USER)])


def free_number() -> int:
    """A number that was a process's, and is nobody's."""
    child = subprocess.Popen(["true"])
    child.wait()
    return child.pid


@pytest.fixture(params=["descriptor", "beginning"])
def held(request: pytest.FixtureRequest) -> Callable[[int], Pin]:
    """How a process is held."""
    return lambda pid: Pin(pid, descriptor=request.param == "descriptor")


def test_a_number_that_became_anothers_is_told(held: Callable[[int], Pin]) -> None:
    number = free_number()
    born_as(number, SLEEP)
    pin = held(number)
    assert not pin.gone
    ended(number)
    assert pin.gone
    wait_for_a_tick()
    born_as(number, SLEEP)
    try:
        assert pin.gone
        assert not held(number).gone
    finally:
        ended(number)


def wait_for_a_tick() -> None:
    """Until whatever begins now began later than all that did before, in the kernel's words."""
    child = subprocess.Popen(["true"])
    began = pins._began(child.pid)
    while True:
        other = subprocess.Popen(["true"])
        later = pins._began(other.pid) != began
        other.wait()
        if later:
            child.wait()
            return


def test_a_thread_is_held_and_ends_by_itself() -> None:
    numbers: list[int] = []
    ready, go = threading.Event(), threading.Event()

    def run() -> None:
        numbers.append(threading.get_native_id())
        ready.set()
        go.wait()

    thread = threading.Thread(target=run)
    thread.start()
    ready.wait()
    pin = Pin(numbers[0], thread=True)
    assert not pin.gone
    go.set()
    thread.join()
    while Path(f"/proc/self/task/{numbers[0]}").exists():
        os.sched_yield()
    assert pin.gone


@pytest.mark.parametrize("number", [0, -1, 2**22 + 1])
def test_what_is_no_number_of_a_task_is_not_found(number: int) -> None:
    with pytest.raises(NotFound):
        Pin(number)


def test_a_descriptor_is_let_go_and_the_beginning_still_tells() -> None:
    number = free_number()
    born_as(number, SLEEP)
    before = os.listdir("/proc/self/fd")
    pin = Pin(number)
    assert len(os.listdir("/proc/self/fd")) == len(before) + 1
    pin.release()
    assert len(os.listdir("/proc/self/fd")) == len(before)
    assert not pin.gone
    ended(number)
    assert pin.gone


def test_many_tasks_take_few_descriptors(tracer: Tracer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ptraced.scope.DESCRIPTORS_MAX", 2)
    children = [subprocess.Popen(SLEEP) for _ in range(4)]
    before = len(os.listdir("/proc/self/fd"))
    try:
        scope = resolve_scope(pb.Scope(pids=[child.pid for child in children]))
        assert len(os.listdir("/proc/self/fd")) == before + 2
        assert not any(pin.gone for pin in scope.pins)
    finally:
        for child in children:
            child.kill()
            child.wait()
    assert all(pin.gone for pin in scope.pins)


def test_a_process_that_takes_the_number_while_a_session_is_opened_is_not_traced(
    tracer: Tracer, calls_binary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # GIVEN a process that ends when it has been checked, and another that gets its number
    number = free_number()
    born_as(number, SLEEP)
    (its_in, to_it), (from_it, its_out) = os.pipe(), os.pipe()

    def swap(scope: Scope, maps: Any) -> None:
        ended(number)
        wait_for_a_tick()
        born_as(number, [calls_binary, "100", "-1"], stdin=its_in, stdout=its_out)
        program.fill_scope(scope, maps)

    monkeypatch.setattr("ptraced.source.fill_scope", swap)
    with tracer.tracing(None, [GETPPID], scope=pb.Scope(pids=[number])) as end:
        # WHEN that one makes calls
        os.write(to_it, b"go\n")
        with open(from_it) as said:
            os.close(its_out)
            assert (said.readline(), said.readline()) == (f"{number}\n", "done\n")
        # THEN they are not seen
        assert end() == []
    for descriptor in (its_in, to_it):
        os.close(descriptor)
    os.waitpid(number, 0)


def test_numbers_that_change_hands_all_the_time_never_show_what_is_anothers(
    tracer: Tracer, calls_binary: Path
) -> None:
    # GIVEN a number that is now the user's, now another's, who both make calls all the time
    number = free_number()
    users = itertools.cycle((USER, OTHER))
    stop = threading.Event()
    taken = Counter[int]()
    from_it, its_out = os.pipe()

    def change_hands() -> None:
        while not stop.is_set():
            uid = next(users)
            call = "os.getpid()" if uid == USER else "os.getppid()"
            body = f"for _ in range(1000): {call}\nprint(flush=True)\nwhile True: {call}"
            born_as(number, as_user(uid, body), stdout=its_out)
            os.read(from_it, 1)
            taken[uid] += 1
            ended(number)

    changing = threading.Thread(target=change_hands)
    changing.start()
    calls = ["syscalls:sys_enter_getpid", GETPPID]
    seen, outcomes = Counter[str](), Counter[str]()
    try:
        while sum(taken.values()) < 30 and changing.is_alive():
            try:
                with tracer.tracing(USER, calls, scope=pb.Scope(pids=[number])) as end:
                    seen.update(event["_event"] for event in end())
                    outcomes["opened"] += 1
            except (NotFound, PermissionRefused) as error:
                outcomes[type(error).__name__] += 1
    finally:
        stop.set()
        changing.join()
        os.close(from_it)
        os.close(its_out)
    assert sum(taken.values()) >= 30
    # THEN the calls that only the other makes are never seen
    assert seen[GETPPID] == 0
    assert set(outcomes) == {"opened", "NotFound", "PermissionRefused"}, outcomes
