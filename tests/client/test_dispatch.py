"""From messages to handlers: order, counts, limits and exceptions."""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import Any

import pytest
from event_samples import (
    DYNAMIC_STRING,
    SIGNED,
    make_batch,
    make_loss,
    make_mark,
    make_schema,
    make_started,
)

from ptrace_client.dispatch import Dispatcher
from ptrace_client.errors import ClientError
from ptrace_client.losses import Losses
from ptrace_client.script import Script
from ptrace_client.script_errors import EndRun, ScriptErrors
from ptrace_proto import ptrace_pb2 as pb

WAKEUP = make_schema()
SWITCH = make_schema("sched:sched_switch", own=(("next_pid", SIGNED, 4),), number=2)


class Run:
    """A dispatcher over handlers that are given as keywords."""

    def __init__(self, *schemas: pb.EventSchema, strict: bool = False, **options: Any) -> None:
        self.errors = ScriptErrors(strict)
        self.losses = Losses(quiet=True)
        module = types.ModuleType("script")
        names = [name for name in options if "__" in name]
        vars(module).update({name: options.pop(name) for name in names})
        script = Script(module)
        self.dispatcher = Dispatcher(
            script.bind(schemas, False),
            make_started(*schemas),
            self.errors,
            self.losses,
            lost=script.lost,
            **options,
        )

    def send(self, *batches: pb.Batch, **fields: Any) -> None:
        self.dispatcher.message(pb.TraceResponse(batches=batches, **fields))


def wakeups(*times: int, cpu: int = 0) -> pb.Batch:
    return make_batch(WAKEUP, *({"_time": time, "pid": time} for time in times), cpu=cpu)


def switches(*times: int, cpu: int = 0) -> pb.Batch:
    return make_batch(SWITCH, *({"_time": time} for time in times), cpu=cpu)


def recorder(seen: list[Any]) -> Callable[[Any], None]:
    def handler(event: Any) -> None:
        seen.append((event._event.partition("_")[2], event._time, event._cpu))

    return handler


def test_one_event_is_delivered_as_it_comes() -> None:
    seen: list[Any] = []
    run = Run(WAKEUP, __sample__=recorder(seen))
    run.send(wakeups(5, 6), wakeups(1, 2, cpu=1))
    run.send(wakeups(7))
    assert [entry[1:] for entry in seen] == [(5, 0), (6, 0), (1, 1), (2, 1), (7, 0)]
    assert run.dispatcher.delivered == 5
    assert run.dispatcher.waiting == 0


def test_several_events_are_merged_up_to_the_mark() -> None:
    # GIVEN two events, each with a handler
    seen: list[Any] = []
    handler = recorder(seen)
    run = Run(WAKEUP, SWITCH, sched__sched_wakeup=handler, sched__sched_switch=handler)
    # WHEN batches come one event after the other
    run.send(wakeups(1, 5, 9), switches(2, 3, 8), wakeups(4, cpu=1))
    assert seen == []
    assert run.dispatcher.waiting == 7
    run.dispatcher.message(make_mark(6))
    # THEN they are in order, and what is newer than the mark waits
    assert seen == [
        *(("wakeup", 1, 0), ("switch", 2, 0), ("switch", 3, 0), ("wakeup", 4, 1), ("wakeup", 5, 0)),
    ]
    run.dispatcher.finish()
    assert seen[5:] == [("switch", 8, 0), ("wakeup", 9, 0)]
    assert run.dispatcher.delivered == 7


def test_order_merges_one_event_too_and_counts_late_ones() -> None:
    seen: list[Any] = []
    run = Run(WAKEUP, __sample__=recorder(seen), order=True)
    run.send(wakeups(5, 6), wakeups(1, 2, cpu=1), mark=pb.RoundMark(time=6))
    run.send(wakeups(3, 8), mark=pb.RoundMark(time=9))
    assert [entry[1] for entry in seen] == [1, 2, 5, 3, 6, 8]
    assert run.dispatcher.late == 1


def test_an_event_without_handler_does_not_make_another_wait() -> None:
    seen: list[Any] = []
    run = Run(WAKEUP, SWITCH, sched__sched_wakeup=recorder(seen))
    run.send(switches(1, 2), wakeups(5))
    assert [entry[1] for entry in seen] == [5]
    assert run.dispatcher.delivered == 1


def test_ordered_handlers_get_no_time_that_they_did_not_ask_for() -> None:
    """The time that order needs is decoded whether the handler reads it or not."""
    schema = make_schema(columns=["pid"])
    seen: list[int] = []

    def handler(event: Any) -> None:
        seen.append(event.pid)

    run = Run(schema, __sample__=handler, order=True)
    run.send(make_batch(schema, {"_time": 9, "pid": 1}), make_batch(schema, {"_time": 8, "pid": 2}))
    run.dispatcher.finish()
    assert seen == [2, 1]


@pytest.mark.parametrize("order", [False, True])
@pytest.mark.parametrize("dynamic", [False, True])
def test_every_event_is_delivered_once_whatever_handlers_raise(order: bool, dynamic: bool) -> None:
    # GIVEN more events than fit between two looks at the clock, of which every seventh fails
    own = (("pid", SIGNED, 4), *((("path", DYNAMIC_STRING, 8),) if dynamic else ()))
    schema = make_schema("test:event", own=own)
    seen: list[int] = []

    def handler(event: Any) -> None:
        seen.append(event.pid)
        if event.pid % 7 == 0:
            raise StopIteration if event.pid % 2 else ValueError

    run = Run(schema, __sample__=handler, order=order)
    # WHEN
    for start in (0, 1000):
        rows = ({"_time": number, "pid": number} for number in range(start, start + 1000))
        run.send(make_batch(schema, *rows), mark=pb.RoundMark(time=10_000))
    # THEN
    assert seen == list(range(2000))
    assert run.dispatcher.delivered == 2000
    assert run.errors.count == 286


@pytest.mark.parametrize("order", [False, True])
@pytest.mark.parametrize("limit", [1, 255, 256, 257, 700, 1000])
def test_a_limit_is_exact(order: bool, limit: int) -> None:
    calls: list[int] = []

    def handler(event: Any) -> None:
        calls.append(event.pid)
        raise ValueError

    run = Run(WAKEUP, __sample__=handler, order=order, limit=limit)
    for start in (0, 500):
        run.send(wakeups(*range(start, start + 500)), mark=pb.RoundMark(time=start + 500))
    assert calls == list(range(limit))
    assert run.dispatcher.done
    run.send(wakeups(1), losses=[make_loss(3)])
    run.dispatcher.finish()
    assert len(calls) == run.dispatcher.delivered == limit


def test_a_limit_cuts_the_last_batch() -> None:
    sizes: list[int] = []
    run = Run(WAKEUP, sched__sched_wakeup__batch=lambda batch: sizes.append(len(batch)), limit=5)
    run.send(wakeups(1, 2, 3), wakeups(4, 5, 6), wakeups(7))
    assert sizes == [3, 2]
    assert run.dispatcher.delivered == 5
    assert run.dispatcher.done


def test_batches_know_what_was_lost_before_them() -> None:
    seen: list[Any] = []

    def handler(batch: Any) -> None:
        seen.append((batch["pid"].tolist(), batch.cpu, batch.lost, batch.start, batch.end))

    run = Run(WAKEUP, sched__sched_wakeup__batch=handler)
    run.send(
        wakeups(50, 60),
        wakeups(55, cpu=1),
        wakeups(70),
        losses=[make_loss(4, 40, 45), make_loss(2, 45, 47)],
    )
    assert seen == [
        ([50, 60], 0, 6, 40, 60),
        ([55], 1, 0, 55, 55),
        ([70], 0, 0, 70, 70),
    ]


def test_batches_are_never_merged() -> None:
    seen: list[Any] = []

    def batches(batch: Any) -> None:
        seen.append(batch["_time"].tolist())

    run = Run(
        WAKEUP, SWITCH, sched__sched_wakeup__batch=batches, __sample__=recorder(seen), order=True
    )
    run.send(switches(3, 9), wakeups(1, 5), mark=pb.RoundMark(time=4))
    run.dispatcher.finish()
    assert seen == [[1, 5], ("switch", 3, 0), ("switch", 9, 0)]


def test_losses_come_before_the_data_that_they_are_sent_with() -> None:
    seen: list[Any] = []

    def lost(start: int, end: int) -> None:
        seen.append((start, end))

    losses = [
        make_loss(4, 40, 45),
        make_loss(1, 50, 51, stage=pb.LOSS_STAGE_QUEUE),
        make_loss(9, 1, 2, stage=pb.LOSS_STAGE_SKIPPED, cpu=-1),
    ]
    run = Run(WAKEUP, __sample__=recorder(seen), __lost__=lost)
    run.send(wakeups(60), losses=losses)
    assert seen == [(0, 0), (0, 0), ("wakeup", 60, 0)]

    del seen[:]
    run = Run(WAKEUP, __sample__=recorder(seen), __lost__=lost, order=True)
    run.send(losses=losses)
    assert seen == [(40, 45), (50, 51)]
    assert run.losses.total == 5


def test_an_exception_in_lost_is_counted_and_the_data_still_comes() -> None:
    seen: list[Any] = []
    run = Run(WAKEUP, __sample__=recorder(seen), __lost__=lambda start, end: 1 / 0)
    run.send(wakeups(60), losses=[make_loss(4)])
    assert run.errors.count == 1
    assert len(seen) == 1


@pytest.mark.parametrize("order", [False, True])
@pytest.mark.parametrize("end", [SystemExit(3), KeyboardInterrupt(), EndRun(1)])
def test_what_ends_the_run_ends_it_at_that_event(order: bool, end: BaseException) -> None:
    calls = []

    def handler(event: Any) -> None:
        calls.append(event.pid)
        if event.pid == 300:
            raise end

    run = Run(WAKEUP, __sample__=handler, order=order)
    with pytest.raises(type(end)):
        run.send(wakeups(*range(500)), mark=pb.RoundMark(time=500))
    assert len(calls) == run.dispatcher.delivered == 301
    assert run.errors.count == 0


def test_strict_ends_the_run_at_the_first_exception() -> None:
    run = Run(WAKEUP, __sample__=lambda event: 1 / 0, strict=True)
    with pytest.raises(EndRun) as end:
        run.send(wakeups(1, 2))
    assert end.value.status == 1
    assert run.dispatcher.delivered == run.errors.count == 1


def test_signals_are_looked_at_during_a_long_batch() -> None:
    looks: list[int] = []
    calls: list[int] = []
    run = Run(
        WAKEUP,
        __sample__=lambda event: calls.append(1),
        between=lambda: looks.append(len(calls)),
    )
    run.send(wakeups(*range(600)))
    assert looks == [256, 512, 600]


def test_a_batch_of_an_unknown_event_is_refused() -> None:
    run = Run(WAKEUP, __sample__=print)
    with pytest.raises(ClientError) as error:
        run.send(switches(1))
    assert str(error.value) == "the server sent a batch of unknown schema 2"
    assert error.value.status == 1


def test_warnings_about_field_names_are_passed_on() -> None:
    schema = make_schema("test:event", own=(("keys", SIGNED, 4),))
    assert Run(schema, __sample__=print).dispatcher.warnings == [
        "test:event has a field 'keys', which as an attribute is something else: "
        "read it as event['keys']"
    ]
