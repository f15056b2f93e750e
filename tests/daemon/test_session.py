"""The queue of a session: what it takes, drops, counts, and in which order it gives."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from pendingframes import PendingFrames

from ptrace_proto import ptrace_pb2 as pb
from ptraced.quotas.queue_room import QueueRoom
from ptraced.rows import Rows
from ptraced.session import MESSAGE_BYTES, Session
from ptraced.stacks import Stack, StackTable

SCHEMA = pb.EventSchema(
    id=1,
    system="sched",
    name="sched_switch",
    fields=[pb.Field(name="_time", kind=pb.FIELD_KIND_UNSIGNED, offset=0, size=8)],
    row_size=8,
)


SHARE = QueueRoom(1 << 40).share(0)


def session(queue_bytes: int = 1 << 20, **request: object) -> Session:
    asked = pb.TraceRequest(**request)  # type: ignore[arg-type]
    return Session("id", asked, [SCHEMA], queue_bytes, None, StackTable(PendingFrames()), SHARE)


def rows(*times: int) -> Rows:
    data = b"".join(time.to_bytes(8, "little") for time in times)
    return Rows(0, len(times), data, times[0], times[-1])


def messages(of: Session) -> list[pb.TraceResponse]:
    return [pb.TraceResponse.FromString(message) for message in of.messages()]


def test_batches_marks_and_end_come_in_this_order() -> None:
    one = session()
    one.offer(1, 3, rows(10, 11))
    one.offer(1, 0, rows(12))
    one.mark(20)
    one.finish(pb.END_REASON_STOPPED)

    (message,) = messages(one)

    assert message.batches == [
        pb.Batch(schema_id=1, cpu=3, count=2, rows=rows(10, 11).data),
        pb.Batch(schema_id=1, cpu=0, count=1, rows=rows(12).data),
    ]
    assert message.mark.time == 20
    assert message.end.reason == pb.END_REASON_STOPPED
    assert message.end.totals == [pb.EventTotals(schema_id=1, delivered=3, lost=0)]


def test_a_full_queue_drops_the_newest_and_counts_them_by_cpu_with_their_times() -> None:
    one = session(queue_bytes=300)
    one.offer(1, 0, rows(10, 11))
    one.offer(1, 0, rows(12, 13))
    one.offer(1, 2, rows(14))
    one.offer(1, 0, rows(15, 16, 17))
    one.finish(pb.END_REASON_STOPPED)

    (message,) = messages(one)

    assert [batch.rows for batch in message.batches] == [rows(10, 11).data]
    assert {(loss.cpu, loss.count, loss.start_time, loss.end_time) for loss in message.losses} == {
        (0, 5, 12, 17),
        (2, 1, 14, 14),
    }
    assert {loss.stage for loss in message.losses} == {pb.LOSS_STAGE_QUEUE}
    assert message.end.totals == [pb.EventTotals(schema_id=1, delivered=2, lost=6)]


def test_an_end_at_once_counts_what_is_queued_as_lost() -> None:
    one = session()
    one.offer(1, 0, rows(10, 11))
    one.finish(pb.END_REASON_STOPPED)
    one.end_at_once(pb.END_REASON_KILLED, "killed by root")
    one.offer(1, 0, rows(12))

    (message,) = messages(one)

    assert not message.batches
    assert [(loss.count, loss.stage) for loss in message.losses] == [(2, pb.LOSS_STAGE_QUEUE)]
    assert (message.end.reason, message.end.text) == (pb.END_REASON_KILLED, "killed by root")
    assert message.end.totals == [pb.EventTotals(schema_id=1, delivered=0, lost=2)]


def test_many_small_batches_fill_a_queue_by_what_they_really_take() -> None:
    one = session(queue_bytes=64 << 10)
    for time in range(1000):
        one.offer(1, 0, rows(time))
    one.finish(pb.END_REASON_STOPPED)

    found = messages(one)

    totals = found[-1].end.totals[0]
    assert totals.delivered + totals.lost == 1000
    assert totals.delivered == (64 << 10) // (256 + 8)
    assert one.info().queued_bytes == 0


def test_losses_go_ahead_of_data_that_waits() -> None:
    one = session(queue_bytes=1 << 30)
    for _ in range(3):
        one.offer(1, 0, rows(*range(100_000)))
    one.lose(1, 1, 7, pb.LOSS_STAGE_KERNEL_BUFFER, (5, 6))
    one.warn("careful")
    one.finish(pb.END_REASON_STOPPED)

    first, *rest = messages(one)

    assert first.losses == [
        pb.Loss(
            schema_id=1,
            cpu=1,
            count=7,
            stage=pb.LOSS_STAGE_KERNEL_BUFFER,
            start_time=5,
            end_time=6,
        )
    ]
    assert [warning.text for warning in first.warnings] == ["careful"]
    assert rest
    assert rest[-1].HasField("end")
    assert not first.HasField("end")


def test_a_mark_waits_for_the_data_that_it_covers() -> None:
    one = session(queue_bytes=1 << 30)
    for _ in range(4):
        one.offer(1, 0, rows(*range(70_000)))
    one.mark(99)
    one.finish(pb.END_REASON_STOPPED)

    found = messages(one)

    assert len(found) > 1
    assert [message.HasField("mark") for message in found] == [False] * (len(found) - 1) + [True]


def test_skipped_runs_are_told_but_not_counted_as_lost() -> None:
    one = session()
    one.lose(1, -1, 3, pb.LOSS_STAGE_SKIPPED, (1, 2))
    one.finish(pb.END_REASON_STOPPED)

    (message,) = messages(one)

    assert message.losses[0].count == 3
    assert message.end.totals[0].lost == 0


def test_a_throttle_is_told_once_and_is_over_after_a_second_without_one() -> None:
    second = 1_000_000_000
    throttled = session()
    for time in (second, 2 * second):
        throttled.throttle(time, "a limit")
        throttled.mark(time)
    throttled.mark(3 * second)
    throttled.mark(4 * second)
    throttled.finish(pb.END_REASON_STOPPED)

    told = [throttle for message in messages(throttled) for throttle in message.throttles]
    assert told == [
        pb.Throttle(started=True, time=second, reason="a limit"),
        pb.Throttle(time=2 * second),
    ]


def test_throttles_that_nobody_reads_become_one() -> None:
    one = session()
    for second in range(0, 10_000, 10):
        one.throttle(second * 1_000_000_000 + 1, "too much")
        one.mark(second * 1_000_000_000 + 3_000_000_000)
    one.finish(pb.END_REASON_STOPPED)

    (message,) = messages(one)

    told = list(message.throttles)
    assert len(told) == 64
    assert [throttle.started for throttle in told] == [True, False] * 32
    assert told[-1].time == 9_990 * 1_000_000_000 + 1


def test_the_first_reason_to_end_stands() -> None:
    one = session()
    one.finish(pb.END_REASON_SHUTDOWN, "bye")
    one.finish(pb.END_REASON_STOPPED)

    assert messages(one)[-1].end.text == "bye"


def test_nothing_is_taken_after_the_end() -> None:
    one = session()
    one.finish(pb.END_REASON_STOPPED)
    one.offer(1, 0, rows(1))

    (message,) = messages(one)

    assert not message.batches


def test_a_cancelled_session_forgets_what_waits_and_lets_its_taker_go() -> None:
    one = session()
    taken: list[pb.TraceResponse] = []
    taker = threading.Thread(target=lambda: taken.extend(messages(one)))
    taker.start()

    one.cancel()
    taker.join()
    one.offer(1, 0, rows(1))

    assert not taken
    assert one.info().queued_bytes == 0


def test_a_self_describing_session_carries_samples_instead_of_rows() -> None:
    one = session(self_describing=True)
    one.offer(1, 5, rows(10, 11))
    one.lose(1, 5, 3, pb.LOSS_STAGE_KERNEL_BUFFER, (1, 2))
    one.mark(12)
    one.finish(pb.END_REASON_STOPPED)

    found = messages(one)

    assert not any(message.batches for message in found)
    assert [(s.event, s.time, s.cpu) for message in found for s in message.samples] == [
        ("sched:sched_switch", 10, 5),
        ("sched:sched_switch", 11, 5),
    ]
    assert found[0].losses
    assert found[-1].mark.time == 12
    assert found[-1].HasField("end")


def test_messages_of_samples_stay_as_small_as_those_of_rows() -> None:
    one = session(self_describing=True, queue_bytes=1 << 30)
    one.offer(1, 5, rows(*range(60_000)))
    one.offer(1, 5, rows(*range(60_000)))
    one.finish(pb.END_REASON_STOPPED)

    sizes = [len(message) for message in one.messages()]

    assert sum(sizes) > 3 << 20
    assert max(sizes) < 1.1 * (1 << 20)


def test_rows_wait_for_the_frames_of_their_stacks_and_losses_do_not() -> None:
    frames = PendingFrames()
    table = StackTable(frames)
    waiting = Session("id", pb.TraceRequest(), [SCHEMA], 1 << 20, None, table, SHARE)
    table.on_resolved = waiting.stacks_resolved
    stacks = table.by_number([table.intern(7, b"", bytes([part] * 8), 1) for part in (1, 2)])
    messages = map(pb.TraceResponse.FromString, waiting.messages())

    waiting.offer(1, 0, Rows(0, 1, bytes(8), 5, 5, stacks))
    waiting.mark(6)
    waiting.lose(1, 0, 3, pb.LOSS_STAGE_QUEUE, (1, 2))
    first = next(messages)
    frames.answer(table, 1)
    waiting.finish(pb.END_REASON_STOPPED)
    threading.Timer(0.01, frames.answer, (table, 2)).start()
    second = next(messages)

    assert [loss.count for loss in first.losses] == [3]
    assert not first.batches
    assert [stack.frames[0].symbol for stack in second.stacks] == ["f1", "f2"]
    assert second.batches[0].count == 1
    assert second.HasField("mark")
    assert second.HasField("end")


def test_a_stack_is_sent_once() -> None:
    frames = PendingFrames()
    table = StackTable(frames)
    carrying = Session("id", pb.TraceRequest(), [SCHEMA], 1 << 20, None, table, SHARE)
    stacks = table.by_number([table.intern(7, b"", bytes(8), 1)])
    frames.answer(table, 1)
    messages = map(pb.TraceResponse.FromString, carrying.messages())

    sent = []
    for time in (5, 6):
        carrying.offer(1, 0, Rows(0, 1, bytes(8), time, time, stacks))
        sent.append(next(messages))

    assert [len(message.stacks) for message in sent] == [1, 0]
    assert [len(message.batches) for message in sent] == [1, 1]


def waiting_stack(table: StackTable, frames: PendingFrames, content: int, size: int) -> Stack:
    """A stack whose frames have so many bytes."""
    number = table.intern(7, b"", content.to_bytes(8, "little"), 1)
    (stack,) = table.by_number([number])
    frame = pb.Frame(symbol="f" * size)
    table.resolve([(number, pb.Stack(id=number, frames=[frame]).SerializeToString())])
    return stack


def test_stacks_do_not_make_messages_large() -> None:
    frames = PendingFrames()
    table = StackTable(frames)
    carrying = Session("id", pb.TraceRequest(), [SCHEMA], 1 << 30, None, table, SHARE)
    stacks = tuple(waiting_stack(table, frames, value, 300_000) for value in range(1, 11))

    carrying.offer(1, 0, Rows(0, 1, bytes(8), 5, 5, stacks))
    carrying.finish(pb.END_REASON_STOPPED)
    sizes = [len(message) for message in carrying.messages()]

    assert sum(sizes) > 3_000_000
    assert max(sizes) < 2 * MESSAGE_BYTES


def test_stacks_that_rows_wait_with_take_room_in_the_queue() -> None:
    frames = PendingFrames()
    table = StackTable(frames)
    carrying = Session("id", pb.TraceRequest(), [SCHEMA], 250_000, None, table, SHARE)
    first, second, third = (waiting_stack(table, frames, value, 100_000) for value in (1, 2, 3))

    for stack in (first, second, first, third):
        carrying.offer(1, 0, Rows(0, 1, bytes(8), 5, 5, (stack,)))
    message = pb.TraceResponse.FromString(next(carrying.messages()))

    assert [batch.count for batch in message.batches] == [1, 1, 1]
    assert [loss.count for loss in message.losses] == [1]
    assert carrying.info().queued_bytes == 0


def test_a_mark_goes_ahead_of_rows_that_came_after_it() -> None:
    frames = PendingFrames()
    table = StackTable(frames)
    carrying = Session("id", pb.TraceRequest(), [SCHEMA], 1 << 20, None, table, SHARE)
    (waiting,) = table.by_number([table.intern(7, b"", bytes([1] * 8), 1)])
    messages = map(pb.TraceResponse.FromString, carrying.messages())

    carrying.offer(1, 0, Rows(0, 1, bytes(8), 5, 5))
    carrying.mark(6)
    carrying.offer(1, 0, Rows(0, 1, bytes(8), 7, 7, (waiting,)))
    carrying.mark(8)
    first = next(messages)
    frames.answer(table, waiting.id)
    second = next(messages)

    assert (first.batches[0].count, first.mark.time) == (1, 6)
    assert (second.batches[0].count, second.mark.time) == (1, 8)


def test_sessions_of_a_user_take_turns_at_making_samples_and_not_at_sending_them() -> None:
    turns = []

    @contextmanager
    def turn() -> Iterator[None]:
        turns.append("taken")
        yield
        turns.append("given")

    one = session(self_describing=True)
    one.decoding = turn
    one.offer(1, 0, rows(*range(30_000)))
    one.finish(pb.END_REASON_STOPPED)
    sent = 0
    for message in one.messages():
        sent += len(pb.TraceResponse.FromString(message).samples)
        assert not turns or turns[-1] == "given"
    assert sent == 30_000
    assert turns.count("taken") > 2
