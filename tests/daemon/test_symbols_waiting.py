"""Users' stacks take turns at the symbolizer, behind the records that they need."""

from __future__ import annotations

from pendingframes import PendingFrames

from ptrace_proto import ptrace_pb2 as pb
from ptraced.policy.grant import Quota
from ptraced.quotas.stack_rates import StackRates
from ptraced.stacks import StacksOf, StackTable
from ptraced.symbols.waiting import Waiting

ANN, BEN = 1000, 1001
MANY = 1 << 20
SECOND = 1_000_000_000


def ids(batch: list[tuple[int, bytes]]) -> list[int]:
    return [stack_id for stack_id, _ in batch]


def test_users_take_turns_however_many_stacks_each_has() -> None:
    waiting = Waiting(100)
    for number in range(1, 6):
        waiting.put_stack(ANN, number, b"1")
    for number in (11, 12):
        waiting.put_stack(BEN, number, b"1")
    assert ids(waiting.take(4)) == [1, 11, 2, 12]
    assert ids(waiting.take(MANY)) == [3, 4, 5]
    assert (waiting.bytes, waiting.stacks, bool(waiting)) == (0, 0, False)


def test_no_stack_goes_ahead_of_records_that_came_before_it() -> None:
    waiting = Waiting(100)
    waiting.put_stack(ANN, 1, b"stack")
    for _ in range(2):
        waiting.put_records(b"r" * 60)
    waiting.put_stack(BEN, 2, b"stack")

    assert ids(waiting.take(100)) == [0, 1]
    assert ids(waiting.take(100)) == [0, 2]
    assert not waiting


def test_records_do_not_come_instead_of_stacks() -> None:
    waiting = Waiting(100)
    waiting.put_stack(ANN, 1, b"stack")
    for _ in range(100):
        waiting.put_records(b"r" * 10)
    assert ids(waiting.take(100))[-1] == 1


def test_who_has_the_most_waiting_loses_one_where_there_are_too_many() -> None:
    waiting = Waiting(4)
    assert [waiting.put_stack(ANN, n, bytes([n])) for n in range(1, 5)] == [[]] * 4
    assert waiting.put_stack(ANN, 5, b"\5") == [b"\5"]
    assert waiting.put_stack(BEN, 6, b"\6") == [b"\4"]
    assert waiting.put_stack(BEN, 7, b"\7") == [b"\3"]
    assert waiting.put_stack(BEN, 8, b"\x08") == [b"\x08"]
    assert (waiting.stacks, waiting.bytes) == (4, 4)
    assert waiting.clear() == [b"\1", b"\2", b"\6", b"\7"]


def word(number: int) -> bytes:
    return number.to_bytes(8, "little")


def test_stacks_beyond_the_rate_have_addresses_only_and_nobody_waits_for_them() -> None:
    rates, frames = StackRates(), PendingFrames()
    rates.allow(ANN, 2)
    table = StackTable(frames, rates=rates)
    ann, ben = StacksOf(table, ANN), StacksOf(table, BEN)
    numbers = [ann.intern(7, word(number), b"", SECOND) for number in (1, 2, 3, 3)]

    # The third is complete at once, and the same as long as the round lasts.
    assert len(frames.asked) == 2
    assert numbers[2] == numbers[3]
    (unnamed,) = table.by_number(numbers[2:3])
    assert unnamed.data is not None
    assert list(pb.Stack.FromString(unnamed.data).frames) == [pb.Frame(address=3, kernel=True)]
    assert len(ann.warnings()) == 1
    assert (ann.warnings(), ben.warnings()) == ([], [])

    # Others, and the same user later, get names for it.
    assert ben.intern(7, word(3), b"", SECOND) != numbers[2]
    table.trim()
    assert ann.intern(7, word(4), b"", 2 * SECOND)
    assert len(frames.asked) == 4
    # What has names costs nothing.
    assert ann.intern(7, word(1), b"", SECOND) == numbers[0]


def test_stacks_far_beyond_the_rate_take_no_numbers() -> None:
    rates = StackRates()
    rates.allow(ANN, 2)
    table = StackTable(PendingFrames(), rates=rates)
    ann, ben = StacksOf(table, ANN), StacksOf(table, BEN)
    for _ in range(3):
        numbers = [ann.intern(7, word(number), b"", SECOND) for number in range(1, 30_000)]
        assert not any(numbers[10_002:])
        table.trim()
    assert ben.intern(7, word(1 << 40), b"", SECOND) == 10_003


def test_all_users_together_have_a_rate_of_stacks() -> None:
    rates = StackRates(lambda: Quota(stacks_per_second=1))
    assert [rates.take(uid, SECOND) for uid in (ANN, BEN)] == [True, False]
    assert rates.take(BEN, 2 * SECOND)
