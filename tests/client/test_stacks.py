"""Call chains: by number from the stream, as lists of frames to scripts."""

from __future__ import annotations

from collections.abc import Callable
from operator import length_hint
from typing import Any

import pytest
from event_samples import (
    CALLCHAIN,
    COMMON,
    DYNAMIC_STRING,
    REALTIME_OFFSET,
    WAKEUP,
    FakeStream,
    make_batch,
    make_mark,
    make_sample_schema,
    make_schema,
    make_stack,
    make_started,
)

# Not only when a script needs it: fixtures unload what tests load, which NumPy does not stand.
import ptrace_client.batch  # noqa: F401
from ptrace_client.dispatch import Dispatcher
from ptrace_client.event_decoder import EventDecoder
from ptrace_client.fusing import fuse
from ptrace_client.losses import Losses
from ptrace_client.script_errors import ScriptErrors
from ptrace_client.stacks import StackTable
from ptrace_client.tracing import Tracing
from ptrace_proto import ptrace_pb2 as pb

READ = (0xFFFFFFFF81000010, "vfs_read", 0x10, True, "[kernel.kallsyms]")
MAIN = (0x401136, "main", 6, False, "/usr/bin/x")
NOWHERE = (0x1234, "", 77, False, "")
READ_FRAME = {
    "addr": 0xFFFFFFFF81000010,
    "symbol": "vfs_read",
    "offset": 0x10,
    "kernel": True,
    "dso": "[kernel.kallsyms]",
}
MAIN_FRAME = {"addr": 0x401136, "symbol": "main", "offset": 6, "kernel": False, "dso": "/usr/bin/x"}
NOWHERE_FRAME = {
    "addr": 0x1234,
    "symbol": "Unknown",
    "offset": 0,
    "kernel": False,
    "dso": "Unknown",
}


def with_stacks(own: Any = (*WAKEUP, CALLCHAIN), **values: Any) -> pb.EventSchema:
    schema = make_schema(own=own, **values)
    del schema.all_fields[-1]
    schema.stack = True
    return schema


def table(*stacks: pb.Stack) -> StackTable:
    filled = StackTable()
    filled.add(stacks)
    return filled


def events(schema: pb.EventSchema, stacks: StackTable, *rows: dict[str, Any]) -> list[Any]:
    decoder = EventDecoder(schema, REALTIME_OFFSET, stacks=stacks)
    return list(decoder.decode(make_batch(schema, *rows)))


def test_a_row_without_a_stack_has_an_empty_one() -> None:
    found = events(with_stacks(), table(make_stack(7, MAIN)), {}, {"_callchain": 99})
    assert [event._callchain for event in found] == [[], []]


def test_frames_come_leaf_first_and_unknown_is_said() -> None:
    stacks = table(make_stack(7, READ, NOWHERE, MAIN))
    (event,) = events(with_stacks(), stacks, {"_callchain": 7, "pid": 3})
    chain = [READ_FRAME, NOWHERE_FRAME, MAIN_FRAME]
    assert event._callchain == event["_callchain"] == event.get("_callchain") == chain
    assert event.to_dict()["_callchain"] == chain
    assert list(event._callchain[0]) == ["addr", "symbol", "offset", "kernel", "dso"]
    assert event.pid == 3


def test_what_a_script_does_to_a_chain_is_its_own_business() -> None:
    stacks = table(make_stack(7, MAIN))
    event, other = events(with_stacks(), stacks, {"_callchain": 7}, {"_callchain": 7})
    event._callchain[0]["symbol"] = "changed"
    event._callchain.clear()
    chain = event._callchain
    chain[0]["symbol"] = "changed"
    chain.clear()
    assert event._callchain == other._callchain == [MAIN_FRAME]


def test_a_kept_event_outlives_what_the_table_forgets() -> None:
    stacks = table(make_stack(7, MAIN), make_stack(8, READ))
    old, new = events(with_stacks(), stacks, {"_callchain": 7}, {"_callchain": 8})
    stacks.forget(8)
    assert len(stacks) == 1
    (late, same) = events(with_stacks(), stacks, {"_callchain": 7}, {"_callchain": 8})
    assert old._callchain == [MAIN_FRAME]
    assert new._callchain == same._callchain == [READ_FRAME]
    assert late._callchain == []


def test_chains_share_their_frames_until_all_are_forgotten() -> None:
    stacks = table(make_stack(1, READ, MAIN), make_stack(2, READ))
    assert len(stacks._frames) == 2
    stacks.forget(2)
    assert [frame["symbol"] for frame in stacks._frames.values()] == ["vfs_read"]
    stacks.add([make_stack(3, READ, MAIN)])
    assert stacks._chains[2][0] is stacks._chains[3][0]
    stacks.forget(4)
    assert not stacks._frames
    assert not len(stacks)


def test_nothing_to_forget_forgets_nothing() -> None:
    stacks = table(make_stack(1, MAIN))
    stacks.forget(0)
    assert len(stacks) == 1


def test_equal_chains_are_equal_whatever_their_numbers() -> None:
    stacks = table(make_stack(1, MAIN), make_stack(2, MAIN), make_stack(3, READ))
    one, same, other = events(
        with_stacks(), stacks, {"_callchain": 1}, {"_callchain": 2}, {"_callchain": 3}
    )
    assert one == same
    assert hash(one) == hash(same)
    assert one != other


def test_stacks_beside_dynamic_data() -> None:
    schema = with_stacks((("path", DYNAMIC_STRING, 8), CALLCHAIN))
    stacks = table(make_stack(1, MAIN))
    rows = ({"path": b"/etc\0", "_callchain": 1}, {"path": b"/\0"})
    assert [(event.path, event._callchain) for event in events(schema, stacks, *rows)] == [
        ("/etc", [MAIN_FRAME]),
        ("/", []),
    ]


def test_rows_tell_how_many_are_left() -> None:
    schema = with_stacks()
    decoder = EventDecoder(schema, REALTIME_OFFSET)
    rows = decoder.rows(make_batch(schema, {}, {}, {}))
    assert length_hint(rows) == 3
    next(rows)
    assert length_hint(rows) == 2


def test_a_stack_that_nobody_reads_costs_nothing() -> None:
    # GIVEN rows with stacks of which only another column is wanted
    schema = with_stacks()
    decoder = EventDecoder(schema, REALTIME_OFFSET, {"pid"})

    # THEN their tuples have nothing else, and a loop can take them apart
    assert list(decoder.rows(make_batch(schema, {"pid": 3, "_callchain": 1}))) == [(3,)]
    assert fuse(_reads_pid, schema, decoder.layout, 0) is not None


def _reads_pid(event: Any) -> None:
    seen.append(event.pid)


seen: list[int] = []


def test_a_chain_that_was_not_requested() -> None:
    schema = with_stacks(columns=["pid"])
    (event,) = events(schema, StackTable(), {"pid": 3})
    assert event.pid == 3
    with pytest.raises(AttributeError) as caught:
        event._callchain  # noqa: B018
    assert str(caught.value) == (
        "field '_callchain' of sched:sched_wakeup was not requested, as no handler was seen to "
        "read it: run with --all-fields"
    )


Run = Callable[..., Dispatcher]


@pytest.fixture
def dispatch(load_source: Any) -> Run:
    """Return a function that delivers messages to a script's source."""

    def run(source: str, schemas: list[pb.EventSchema], *messages: pb.TraceResponse) -> Any:
        script = load_source(source)
        started = make_started(*schemas)
        bindings = script.bind(schemas, False)
        errors = ScriptErrors(strict=True)
        dispatcher = Dispatcher(bindings, started, errors, Losses(quiet=True))
        for message in messages:
            dispatcher.message(message)
        dispatcher.finish()
        return script._callables["result"]()

    return run


def message(schema: pb.EventSchema, number: int, time: int = 0, **values: Any) -> pb.TraceResponse:
    row = {"_callchain": number, "callchain": number, "_time": time}
    return pb.TraceResponse(batches=[make_batch(schema, row)], **values)


HANDLER = """
kept = []

def sched__sched_wakeup(event):
    kept.append(event)

def profile(event):
    kept.append(event)

def result():
    names = ("_callchain", "callchain")
    return [frame["symbol"] for e in kept for n in names for frame in e.get(n, [])]
"""


def test_stacks_come_before_the_rows_of_their_message_and_go_after_them(dispatch: Run) -> None:
    schema = with_stacks()
    messages = (
        message(schema, 1, stacks=[make_stack(1, MAIN)], forget_stacks_below=2),
        message(schema, 1),
        message(schema, 2, stacks=[make_stack(2, READ)]),
        message(schema, 2),
    )
    assert dispatch(HANDLER, [schema], *messages) == ["main", "vfs_read", "vfs_read"]


def test_events_that_wait_for_their_turn_keep_their_stacks(dispatch: Run) -> None:
    # GIVEN a tracepoint and a sampled event, merged by time
    wakeup, profile = with_stacks(), make_sample_schema(number=2)
    messages = (
        message(wakeup, 1, 20, stacks=[make_stack(1, MAIN)], forget_stacks_below=2),
        message(profile, 2, 10, stacks=[make_stack(2, READ)], forget_stacks_below=3),
        make_mark(30),
    )
    assert dispatch(HANDLER, [wakeup, profile], *messages) == ["vfs_read", "main"]


BATCH_HANDLER = """
kept = []

def {name}__batch(batch):
    kept.append((batch["{column}"].tolist(), dict(batch.stacks), len(batch[:1].stacks)))

def result():
    return kept
"""


@pytest.mark.parametrize("dynamic", [False, True])
def test_batches_have_numbers_and_what_they_stand_for(dispatch: Run, dynamic: bool) -> None:
    schema = with_stacks((*[("path", DYNAMIC_STRING, 8)] * dynamic, CALLCHAIN))
    rows = [{"_callchain": number} for number in (5, 0, 4, 5)]
    response = pb.TraceResponse(
        stacks=[make_stack(4, MAIN), make_stack(5, READ, MAIN), make_stack(6, READ)],
        batches=[make_batch(schema, *rows)],
        forget_stacks_below=7,
    )
    source = BATCH_HANDLER.format(name="sched__sched_wakeup", column="_callchain")
    assert dispatch(source, [schema], response) == [
        ([5, 0, 4, 5], {0: [], 4: [MAIN_FRAME], 5: [READ_FRAME, MAIN_FRAME]}, 3)
    ]


def test_batches_of_samples_have_stacks_too(dispatch: Run) -> None:
    schema = make_sample_schema()
    source = BATCH_HANDLER.format(name="profile", column="callchain")
    response = message(schema, 4, stacks=[make_stack(4, MAIN)])
    assert dispatch(source, [schema], response) == [([4], {0: [], 4: [MAIN_FRAME]}, 2)]


def test_a_batch_without_stacks_has_the_empty_one(dispatch: Run) -> None:
    schema = make_schema()
    source = BATCH_HANDLER.format(name="sched__sched_wakeup", column="_callchain")
    assert dispatch(source, [schema], message(schema, 4)) == [([0], {0: []}, 1)]


@pytest.mark.parametrize("order", [False, True])
def test_a_loop_over_events_has_their_stacks(order: bool) -> None:
    schema = with_stacks(common=COMMON)
    stream = FakeStream(
        make_started(schema),
        [
            message(schema, 1, stacks=[make_stack(1, MAIN)], forget_stacks_below=2),
            message(schema, 1),
            make_mark(5),
        ],
    )
    chains = [event._callchain for event in Tracing(stream, order=order)]  # type: ignore[arg-type]
    assert chains == [[MAIN_FRAME], []]
