"""Sources are shared by those who ask for the same, and go with the last of them."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from madeup import event

from ptraced import hub as hub_module
from ptraced.bpf_maps import VerifierError
from ptraced.compiler import CompileError
from ptraced.errors import LimitExceeded, TraceError, Unavailable
from ptraced.hub import Hub
from ptraced.layout import lay_out
from ptraced.policy.grant import Quota
from ptraced.program import EventPlan, ModulePlan
from ptraced.ring_set import RingOptions
from ptraced.scope import Scope
from ptraced.tracefs import Tracefs

OPTIONS = RingOptions(64, 1000)
# Seconds after which a wait is in vain.
NEVER = 60.0


class Kernel:
    """Stands for compiler, reader and kernel: notes in `said` what is done to sources."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.made = 0
        self.refusal: Exception | None = None
        self.compiling = threading.Event()
        self.may_compile = threading.Event()
        self.may_compile.set()
        # How many take-downs may go through; None for any number.
        self.may_close: threading.Semaphore | None = None

    def compile(self, text: str, uid: int, quota: Quota) -> None:
        self.compiling.set()
        assert self.may_compile.wait(NEVER)
        if self.refusal is not None:
            raise self.refusal

    def add(self, source: FakeSource) -> None:
        self.said.append(f"read {source.number}")

    def remove(self, source: FakeSource) -> None:
        self.said.append(f"unread {source.number}")


class FakeSource:
    kernel: Kernel

    def __init__(self, plan: ModulePlan, *_: object) -> None:
        self.plan = plan
        self.kernel.made += 1
        self.number = self.kernel.made

    def start(self) -> None:
        self.kernel.said.append(f"start {self.number}")

    def stop(self) -> None:
        self.kernel.said.append(f"stop {self.number}")

    def close(self) -> None:
        if self.kernel.may_close is not None:
            assert self.kernel.may_close.acquire(timeout=NEVER)
        self.kernel.said.append(f"close {self.number}")


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Kernel:
    kernel = Kernel()
    monkeypatch.setattr(FakeSource, "kernel", kernel, raising=False)
    monkeypatch.setattr(hub_module, "Source", FakeSource)
    monkeypatch.setattr(hub_module, "module_texts", lambda plan, tracefs: [""])
    monkeypatch.setattr(hub_module, "joined", next)
    return kernel


@pytest.fixture
def hub(kernel: Kernel) -> Iterator[Hub]:
    stand_in: Any = kernel
    running = Hub(Tracefs(Path("/nowhere")), stand_in, stand_in, stand_in, stand_in)
    yield running
    if kernel.may_close is not None:
        kernel.may_close.release(1000)
    running.close()


def plan(event_id: int = 1, scope: Scope | None = None, payer: int | None = None) -> ModulePlan:
    format = event("sys", f"event_{event_id}", event_id=event_id)
    events = (EventPlan(format, None, lay_out(format, ())),)
    return ModulePlan(events, scope or Scope(), payer=payer)


def test_a_source_is_read_before_it_starts_and_stopped_before_it_is_closed(
    hub: Hub, kernel: Kernel
) -> None:
    hub.release(hub.acquire(plan(), OPTIONS))
    hub.close()

    assert kernel.said == ["read 1", "start 1", "stop 1", "unread 1", "close 1"]


def test_two_users_share_and_the_last_one_takes_down(hub: Hub, kernel: Kernel) -> None:
    first = hub.acquire(plan(), OPTIONS)
    second = hub.acquire(plan(), OPTIONS)
    assert first is second

    hub.release(first)
    assert kernel.said == ["read 1", "start 1"]
    hub.release(second)
    hub.close()
    assert kernel.said[2:] == ["stop 1", "unread 1", "close 1"]


@pytest.mark.parametrize(
    ("other_plan", "other_options"),
    [
        (plan(2), OPTIONS),
        (plan(1, Scope(cpus=(1,))), OPTIONS),
        (plan(1), RingOptions(128, 1000)),
        (plan(1), RingOptions(64, 0)),
    ],
    ids=["event", "scope", "pages", "watermark"],
)
def test_what_differs_is_not_shared(
    hub: Hub, other_plan: ModulePlan, other_options: RingOptions
) -> None:
    assert hub.acquire(plan(), OPTIONS) is not hub.acquire(other_plan, other_options)


def test_a_source_that_went_is_made_anew(hub: Hub, kernel: Kernel) -> None:
    hub.release(hub.acquire(plan(), OPTIONS))
    hub.acquire(plan(), OPTIONS)

    assert kernel.made == 2


def test_those_who_ask_while_it_is_made_get_the_same(hub: Hub, kernel: Kernel) -> None:
    kernel.may_compile.clear()
    found: list[object] = []
    users = [
        threading.Thread(target=lambda: found.append(hub.acquire(plan(), OPTIONS)))
        for _ in range(3)
    ]
    users[0].start()
    assert kernel.compiling.wait(NEVER)
    for user in users[1:]:
        user.start()
    kernel.may_compile.set()
    for user in users:
        user.join(NEVER)

    assert kernel.made == 1
    assert len(found) == 3
    assert len(set(found)) == 1


def refused(hub: Hub) -> TraceError:
    with pytest.raises(TraceError) as caught:
        hub.acquire(plan(), OPTIONS)
    return caught.value


@pytest.mark.parametrize(
    ("refusal", "kind", "message"),
    [
        (
            CompileError("clang refused it"),
            TraceError,
            "error: a generated program did not compile: clang refused it",
        ),
        (
            VerifierError(errno.EACCES, "one\ntwo\nthree\nfour\nR1 is bad\n"),
            TraceError,
            "error: the kernel's verifier refused the program; a simpler filter may pass\n"
            "  two\n  three\n  four\n  R1 is bad",
        ),
        (
            PermissionError(errno.EPERM, os.strerror(errno.EPERM)),
            Unavailable,
            "error: the kernel does not permit it: ptraced needs CAP_BPF, CAP_PERFMON and "
            "CAP_DAC_READ_SEARCH, to lock memory for a buffer of 64 pages per CPU (ulimit -l), and "
            "kernel.perf_event_paranoid at most 2",
        ),
        (
            OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
            Unavailable,
            "error: the kernel refused to trace: No space left on device",
        ),
        (LimitExceeded("error: too many"), LimitExceeded, "error: too many"),
    ],
    ids=["clang", "verifier", "permission", "other", "own"],
)
def test_a_refusal_is_told_and_leaves_no_entry(
    hub: Hub, kernel: Kernel, refusal: Exception, kind: type[TraceError], message: str
) -> None:
    kernel.refusal = refusal

    error = refused(hub)

    assert (type(error), str(error)) == (kind, message)
    assert hub._entries == {}
    kernel.refusal = None
    hub.release(hub.acquire(plan(), OPTIONS))
    assert (hub._entries, hub._keys) == ({}, {})


class Watched(threading.Condition):
    """A condition that tells when somebody waits for it."""

    def __init__(self, lock: threading.Lock) -> None:
        super().__init__(lock)
        self.waited_for = threading.Event()

    def wait(self, timeout: float | None = None) -> bool:
        self.waited_for.set()
        return super().wait(timeout)


def test_nothing_new_is_made_while_sixteen_are_closing(hub: Hub, kernel: Kernel) -> None:
    watched = hub._closed_one = Watched(hub._lock)
    kernel.may_close = threading.Semaphore(0)
    for source in [hub.acquire(plan(number), OPTIONS) for number in range(16)]:
        hub.release(source)
    late = threading.Thread(target=hub.acquire, args=(plan(99), OPTIONS))
    late.start()

    assert watched.waited_for.wait(NEVER)
    assert kernel.made == 16
    kernel.may_close.release()
    late.join(NEVER)

    assert kernel.said[-3:] == ["close 1", "read 17", "start 17"]


def test_with_fifteen_closing_another_one_is_made_at_once(hub: Hub, kernel: Kernel) -> None:
    kernel.may_close = threading.Semaphore(0)
    for source in [hub.acquire(plan(number), OPTIONS) for number in range(15)]:
        hub.release(source)

    hub.acquire(plan(99), OPTIONS)

    assert kernel.said[-2:] == ["read 16", "start 16"]


def test_what_is_in_use_can_be_had_while_sixteen_are_closing(hub: Hub, kernel: Kernel) -> None:
    kernel.may_close = threading.Semaphore(0)
    used = hub.acquire(plan(99), OPTIONS)
    for source in [hub.acquire(plan(number), OPTIONS) for number in range(16)]:
        hub.release(source)

    assert hub.acquire(plan(99), OPTIONS) is used


def test_what_one_user_closes_holds_up_no_other(hub: Hub, kernel: Kernel) -> None:
    kernel.may_close = threading.Semaphore(0)
    for source in [hub.acquire(plan(number, payer=1000), OPTIONS) for number in range(16)]:
        hub.release(source)

    hub.acquire(plan(99, payer=1001), OPTIONS)

    assert kernel.said[-2:] == ["read 17", "start 17"]


def test_one_user_takes_half_of_a_tracepoint_s_places_until_they_are_free_again(
    hub: Hub, kernel: Kernel
) -> None:
    def source_of(user: int, cpu: int) -> Any:
        return hub.acquire(plan(1, Scope(cpus=(cpu,)), user), OPTIONS)

    held = [source_of(1000, cpu) for cpu in range(32)]
    with pytest.raises(LimitExceeded, match="and on sys:event_1 you have 32: more would leave"):
        source_of(1000, 32)
    for cpu in range(16):
        source_of(1001, cpu)

    kernel.may_close = threading.Semaphore(0)
    hub.release(held[0])
    # The kernel has not let go of it yet.
    with pytest.raises(LimitExceeded):
        source_of(1000, 32)
    kernel.may_close.release()
    hub.close()
    hub.release(held[1])
    kernel.may_close.release()
    hub.close()


def test_who_follows_children_takes_places_for_that(hub: Hub) -> None:
    for number in range(32):
        hub.acquire(plan(number, Scope(pids=(number,)), 1000), OPTIONS)
    with pytest.raises(LimitExceeded, match="on task:task_newtask you have 32"):
        hub.acquire(plan(99, Scope(pids=(99,)), 1000), OPTIONS)
    hub.acquire(plan(99, Scope(pids=(99,)), 1001), OPTIONS)
