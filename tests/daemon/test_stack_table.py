"""Stacks by number: once each, forgotten with their process and when there are too many."""

from __future__ import annotations

import struct

import pytest
from pendingframes import PendingFrames, message

from ptrace_proto import ptrace_pb2 as pb
from ptraced.sent_stacks import SentStacks
from ptraced.stacks import StacksOf, StackTable


def addresses(*values: int) -> bytes:
    return struct.pack(f"<{len(values)}Q", *values)


KERNEL, USER = addresses(0xFFFF_8000_0000_0001), addresses(1, 2)


@pytest.fixture
def frames() -> PendingFrames:
    return PendingFrames()


@pytest.fixture
def table(frames: PendingFrames) -> StackTable:
    return StackTable(frames, kept=3)


def test_the_same_stack_has_one_number_and_is_asked_for_once(
    table: StackTable, frames: PendingFrames
) -> None:
    first = table.intern(7, KERNEL, USER, 100)

    assert table.intern(7, KERNEL, USER, 200) == first
    assert frames.asked == [(first, 7, 100, KERNEL, USER)]


def test_user_stacks_belong_to_a_process_and_kernel_stacks_to_none(
    table: StackTable, frames: PendingFrames
) -> None:
    assert table.intern(7, b"", USER, 1) != table.intern(8, b"", USER, 1)
    assert table.intern(7, KERNEL, b"", 1) == table.intern(8, KERNEL, b"", 1)
    assert frames.asked[-1][1] == 0


def test_who_sees_own_tasks_only_shares_no_stacks_with_who_sees_all(
    table: StackTable, frames: PendingFrames
) -> None:
    all_, anns, bens = (StacksOf(table, None, owner) for owner in (None, 1000, 1001))
    numbers = [view.intern(7, KERNEL, USER, 1) for view in (all_, anns, bens, all_, anns)]

    assert numbers == [1, 2, 3, 1, 2]
    assert frames.owners == [None, 1000, 1001]
    assert frames.asked == [(number, 7, 1, KERNEL, USER) for number in (1, 2, 3)]


def test_the_parts_of_a_stack_are_told_apart(table: StackTable) -> None:
    assert table.intern(7, KERNEL, USER, 1) != table.intern(7, KERNEL + USER[:8], USER[8:], 1)


def test_an_empty_stack_is_number_zero(table: StackTable, frames: PendingFrames) -> None:
    assert table.intern(7, b"", b"", 1) == 0
    assert frames.asked == []
    assert table.by_number([0]) == ()


def test_a_new_program_of_the_process_has_new_stacks(table: StackTable) -> None:
    user = table.intern(7, b"", USER, 1)
    other = table.intern(8, b"", USER, 1)

    table.forget_process(7, 10)
    table.forget_process(9, 10)

    assert table.intern(7, b"", USER, 11) > user
    assert table.intern(8, b"", USER, 11) == other


def test_a_stack_of_the_program_before_is_not_that_of_the_next(table: StackTable) -> None:
    # GIVEN the news of the program is read before what happened ahead of it
    table.forget_process(7, 10)

    old = table.intern(7, b"", USER, 9)

    new = table.intern(7, b"", USER, 11)
    assert new != old
    assert table.intern(7, b"", USER, 12) == new


def test_where_news_may_be_missing_no_process_has_its_old_stacks(table: StackTable) -> None:
    user, kernel = table.intern(7, b"", USER, 1), table.intern(7, KERNEL, b"", 1)

    table.forget_processes()

    assert table.intern(7, b"", USER, 2) > user
    assert table.intern(7, KERNEL, b"", 2) == kernel


def test_frames_that_nobody_found_are_looked_for_again(
    table: StackTable, frames: PendingFrames
) -> None:
    first = table.intern(7, b"", USER, 1)
    table.give_up([(first, message(first))])
    table.trim()

    assert table.intern(7, b"", USER, 2) > first
    assert len(frames.asked) == 2


def test_the_bytes_of_stacks_are_bounded(frames: PendingFrames) -> None:
    table = StackTable(frames, kept_bytes=10_000)
    numbers = [table.intern(7, b"", addresses(value), 1) for value in range(8)]
    table.trim()
    assert table.low_water == 1

    table.resolve((number, bytes(3000)) for number in numbers)
    table.trim()

    assert table.low_water == numbers[6]


def test_the_oldest_are_forgotten_where_there_are_too_many(table: StackTable) -> None:
    numbers = [table.intern(7, b"", addresses(value), 1) for value in range(5)]
    table.trim()

    assert table.low_water == numbers[2]
    assert table.intern(7, b"", addresses(4), 1) == numbers[4]
    assert table.intern(7, b"", addresses(0), 1) > numbers[4]


def test_a_stack_that_is_forgotten_still_gets_its_frames(
    table: StackTable, frames: PendingFrames
) -> None:
    number = table.intern(7, b"", addresses(0), 1)
    (waiting,) = table.by_number([number])
    for value in range(1, 5):
        table.intern(7, b"", addresses(value), 1)
    table.trim()

    frames.answer(table, number)

    assert waiting.data == message(number)


def test_those_who_wait_are_told(table: StackTable, frames: PendingFrames) -> None:
    told = []
    table.on_resolved = lambda: told.append(1)

    frames.answer(table, table.intern(7, b"", USER, 1))

    assert told == [1]


def test_a_stream_carries_each_stack_once(table: StackTable) -> None:
    sent = SentStacks(table)
    stacks = table.by_number([table.intern(7, b"", addresses(value), 1) for value in range(3)])

    assert list(sent.new(stacks[:2])) == list(stacks[:2])
    assert list(sent.new(stacks)) == [stacks[2]]


def test_a_client_that_holds_many_is_told_which_to_forget(table: StackTable) -> None:
    sent = SentStacks(table, held=3)
    for value in range(4):
        number = table.intern(7, b"", addresses(value), 1)
        list(sent.new(table.by_number([number])))
        assert sent.forgotten() == 0
    table.trim()

    list(sent.new(table.by_number([table.intern(7, b"", addresses(9), 1)])))

    assert sent.forgotten() == table.low_water > 1
    assert sent.forgotten() == 0


def test_numbers_begin_anew_behind_the_last_and_a_stream_carries_what_they_mean_then(
    frames: PendingFrames,
) -> None:
    table = StackTable(frames, kept=2, number_max=5)
    sent = SentStacks(table, held=0)
    carried, told = {}, []
    for value in range(1, 12):
        number = table.intern(7, b"", addresses(value), 1)
        (stack,) = table.by_number([number])
        for new in sent.new([stack]):
            carried[new.id] = new.key
        assert carried[number] == stack.key
        lowest = sent.forgotten()
        told.append(lowest)
        for forgotten in [known for known in carried if known < lowest]:
            del carried[forgotten]
        assert carried[number] == stack.key
        table.trim()
    assert [number for number in told if number] == [2, 3, 2, 3]


def test_a_python_without_names_is_told_of_once(table: StackTable) -> None:
    sent = SentStacks(table)
    stacks = ((7, 1), (7, 2), (8, 1))
    first, second, other = table.by_number(
        [table.intern(process, b"", addresses(value), 1) for process, value in stacks]
    )
    table.note_silent_python(7, "/usr/bin/python3.11")

    assert sent.silent_python(other) is None
    assert sent.silent_python(first) == (
        "stacks of process 7 name no Python functions: /usr/bin/python3.11 has to be CPython "
        "3.12 or later and started with -X perf (or PYTHONPERFSUPPORT=1)"
    )
    assert sent.silent_python(second) is None


def test_a_chain_ends_before_addresses_that_are_none(
    table: StackTable, frames: PendingFrames
) -> None:
    table.intern(7, b"", addresses(1, 0, 0x100, 0, 0), 1)

    assert frames.asked[0][4] == addresses(1, 0, 0x100)


def test_a_stack_goes_without_the_kernels_addresses_where_they_are_hidden(
    table: StackTable,
) -> None:
    (stack,) = table.by_number([table.intern(7, KERNEL, USER, 1)])
    frame = pb.Frame(address=1 << 63, symbol="do_it", offset=5, kernel=True, dso="[kernel]")
    own = pb.Frame(address=77, symbol="main")
    table.resolve([(stack.id, pb.Stack(id=stack.id, frames=[frame, own]).SerializeToString())])

    shown = pb.Stack.FromString(SentStacks(table).data(stack))
    hidden = pb.Stack.FromString(SentStacks(table, addresses=False).data(stack))

    assert list(shown.frames) == [frame, own]
    frame.address = 0
    assert list(hidden.frames) == [frame, own]
    assert hidden.id == stack.id


@pytest.mark.parametrize("news", [False, True])
def test_the_interpreter_of_a_process_is_not_that_of_the_next_with_its_number(
    table: StackTable, news: bool
) -> None:
    # GIVEN that the process ended, and the record of it was seen, or nobody looked
    table.note_silent_python(7, "/opt/secret/python3.11")
    if news:
        table.forget_process(7, 10)
    else:
        table.forget_processes()
    (stack,) = table.by_number([table.intern(7, b"", USER, 20)])

    assert SentStacks(table).silent_python(stack) is None
