"""Of each user one piece of work at a time, and other users' beside it."""

from __future__ import annotations

import threading

from ptraced.quotas.one_at_a_time import OneAtATime

ANN, BEN = 1000, 1001


def test_a_user_waits_for_its_own_work_and_another_does_not() -> None:
    turns = OneAtATime()
    begun = threading.Event()

    def work_for(uid: int) -> None:
        with turns.turn_of(uid):
            begun.set()

    with turns.turn_of(ANN):
        second = threading.Thread(target=work_for, args=(ANN,))
        second.start()
        with turns.turn_of(BEN):
            assert not begun.is_set()
    second.join()
    assert begun.is_set()


def test_what_fails_lets_the_next_one_go_on() -> None:
    turns = OneAtATime()
    for _ in range(2):
        try:
            with turns.turn_of(ANN):
                raise ValueError
        except ValueError:
            pass
