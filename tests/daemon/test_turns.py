"""Whose turn it is, and how much of the queues' memory a user may have."""

from __future__ import annotations

from ptraced.quotas.queue_room import QueueRoom
from ptraced.quotas.turns import Turns

ANN, BEN, CAT = 1, 2, 3
MS = 1_000_000


def turns(**taken: int) -> Turns[str]:
    made: Turns[str] = Turns()
    for item, time in taken.items():
        for _ in range(100):
            made.note(item, time)
    return made


def test_who_has_taken_the_least_goes_first() -> None:
    made = turns(a=3 * MS, b=1 * MS, c=2 * MS)
    assert made.order({"a": [ANN], "b": [BEN], "c": [CAT], "new": [4]}) == ["new", "b", "c", "a"]


def test_many_small_ones_of_a_user_are_as_heavy_as_one_large() -> None:
    made = turns(**{f"a{number}": 1 * MS for number in range(5)}, b=2 * MS)
    users = {**{f"a{number}": [ANN] for number in range(5)}, "b": [BEN]}
    assert made.order(users)[0] == "b"


def test_what_users_share_goes_with_the_lightest_of_them() -> None:
    made = turns(shared=1 * MS, b=2 * MS, c=4 * MS)
    users = {"b": [BEN], "c": [CAT], "shared": [CAT, ANN]}
    assert made.order(users) == ["shared", "b", "c"]


def test_those_in_between_take_a_quarter_of_the_time_at_most() -> None:
    made = turns(a=2 * MS, b=2 * MS, c=2 * MS)
    assert made.light(["a", "b", "c"], 20 * MS) == ["a", "b"]


def test_what_is_gone_weighs_nothing() -> None:
    made = turns(a=3 * MS, b=1 * MS)
    made.forget("a")
    assert made.order({"b": [BEN], "a": [ANN]}) == ["a", "b"]


def fill(room: QueueRoom, uid: int) -> int:
    size = 0
    while room.take(uid, 1):
        size += 1
    return size


def test_a_user_may_fill_half_and_the_next_half_of_the_rest() -> None:
    room = QueueRoom(1000)
    assert fill(room, ANN) == 500
    assert 240 <= fill(room, BEN) <= 250
    assert fill(room, ANN) == 0


def test_room_that_is_given_back_is_there_for_others() -> None:
    room = QueueRoom(1000)
    share = room.share(ANN)
    assert share.take(400)
    assert not share.take(400)
    assert fill(room, BEN) == 300
    share.give_back(400)
    assert share.take(300)
