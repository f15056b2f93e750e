"""The compiler serves users in turn, and each for so long a minute."""

from __future__ import annotations

import os
import threading

import pytest

from ptraced.errors import LimitExceeded
from ptraced.policy.grant import Quota
from ptraced.quotas.compile_time import CompileTime
from ptraced.quotas.fair_lock import FairLock

ANN, BEN, CAT = 1000, 1001, 1002
MS = 1_000_000
SECOND = 1000 * MS


class Clock:
    """A clock that is moved by hand, ns."""

    def __init__(self) -> None:
        self.time = 0

    def __call__(self) -> int:
        return self.time


def refusal(times: CompileTime, uid: int, quota: Quota) -> str:
    with pytest.raises(LimitExceeded) as caught:
        times.check(uid, quota)
    return str(caught.value)


def test_who_has_had_its_time_is_told_when_to_come_again() -> None:
    clock, quota = Clock(), Quota(compile_ms=600)
    times = CompileTime(now=clock)
    times.check(ANN, quota)
    times.charge(ANN, quota, 700 * MS)

    assert refusal(times, ANN, quota) == (
        "error: the compiler has worked for your limit of 600 ms per minute; come again in 11 s, "
        "or ask for what is traced already"
    )
    times.check(BEN, quota)
    clock.time += 11 * SECOND
    times.check(ANN, quota)


def test_all_users_together_have_a_limit() -> None:
    times = CompileTime(lambda: Quota(compile_ms=600), now=Clock())
    times.charge(ANN, Quota(), 600 * MS)
    assert "the host's limit of 600 ms" in refusal(times, BEN, Quota())


class Queue:
    """Threads of users that wait for a lock, one after the other."""

    def __init__(self) -> None:
        self.lock = FairLock()
        self.served: list[int] = []
        self.threads: list[threading.Thread] = []

    def add(self, uid: int) -> None:
        before = self.waiting()
        thread = threading.Thread(target=self.serve, args=(uid,))
        thread.start()
        self.threads.append(thread)
        while self.waiting() == before:
            os.sched_yield()

    def waiting(self) -> int:
        return sum(map(len, self.lock._waiting.values()))

    def serve(self, uid: int) -> None:
        with self.lock.turn_of(uid):
            self.served.append(uid)


def test_users_take_turns_however_many_each_has_waiting() -> None:
    queue = Queue()
    with queue.lock.turn_of(ANN):
        for uid in (ANN, ANN, ANN, BEN, BEN, CAT):
            queue.add(uid)
    for thread in queue.threads:
        thread.join()

    assert queue.served == [ANN, BEN, CAT, ANN, BEN, ANN]
    assert not queue.lock._held


def fail(queue: Queue) -> None:
    with queue.lock.turn_of(ANN):
        queue.add(BEN)
        raise ValueError("bad")


def test_the_lock_goes_on_behind_one_who_fails() -> None:
    queue = Queue()
    with pytest.raises(ValueError, match="bad"):
        fail(queue)
    queue.threads[0].join()
    assert queue.served == [BEN]
