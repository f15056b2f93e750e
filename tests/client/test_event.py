"""PerfEvent: every operation that perf-prof's specification names, and what we add."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Iterable
from typing import Any

import pytest
from event_samples import (
    BOOL,
    BYTES,
    CHARS,
    DYNAMIC_BYTES,
    DYNAMIC_STRING,
    POINTER,
    REALTIME_OFFSET,
    SIGNED,
    UNSIGNED,
    Column,
    make_batch,
    make_schema,
)

from ptrace_client.decode import TextCache
from ptrace_client.event import PerfEvent
from ptrace_client.event_decoder import EventDecoder
from ptrace_client.event_fields import COMMON_KEYS
from ptrace_client.printing import local_time
from ptrace_proto import ptrace_pb2 as pb

ROW = {
    "_time": 1276041168516,
    "_pid": 23171,
    "_tid": 23172,
    "_comm": b"ugen",
    "common_flags": 1,
    "common_preempt_count": 2,
    "comm": b"kworker/1:0\0junk",
    "pid": 70,
    "prio": -120,
    "target_cpu": 1,
}
KEYS = [*COMMON_KEYS, "comm", "pid", "prio", "target_cpu"]


def decode(schema: pb.EventSchema, *rows: dict[str, Any], cpu: int = 0) -> list[PerfEvent]:
    decoder = EventDecoder(schema, REALTIME_OFFSET)
    return list(decoder.decode(make_batch(schema, *rows, cpu=cpu)))


def wakeup(**values: Any) -> Any:
    return decode(make_schema(), {**ROW, **values}, cpu=3)[0]


def with_fields(fields: Iterable[Column], **values: Any) -> Any:
    return decode(make_schema("test:event", own=tuple(fields)), values)[0]


def test_keys_come_in_perf_profs_order() -> None:
    assert wakeup().keys() == [
        "_pid",
        "_tid",
        "_time",
        "_cpu",
        "_period",
        "common_type",
        "common_flags",
        "common_preempt_count",
        "common_pid",
        "_realtime",
        "_callchain",
        "_event",
        "comm",
        "pid",
        "prio",
        "target_cpu",
    ]


def test_all_ways_to_a_value_agree() -> None:
    event = wakeup()
    expected = {
        "_pid": 23171,
        "_tid": 23172,
        "_time": 1276041168516,
        "_cpu": 3,
        "_period": 1,
        "common_type": 374,
        "common_flags": 1,
        "common_preempt_count": 2,
        "common_pid": 23172,
        "_realtime": 1276041168516 + REALTIME_OFFSET,
        "_callchain": [],
        "_event": "sched:sched_wakeup",
        "comm": "kworker/1:0",
        "pid": 70,
        "prio": -120,
        "target_cpu": 1,
    }

    assert event.to_dict() == expected
    assert list(event.to_dict()) == KEYS
    assert {key: getattr(event, key) for key in KEYS} == expected
    assert {key: event[key] for key in KEYS} == expected
    assert {key: event.get(key) for key in KEYS} == expected
    assert event.values() == list(expected.values())
    assert event.items() == list(expected.items())
    assert list(event) == list(expected.items())
    assert dict(event) == expected
    assert len(event) == 16
    assert all(key in event for key in KEYS)
    assert str(event) == str(expected)
    assert f"{event}" == str(expected)


def test_methods_return_lists_that_are_the_callers_own() -> None:
    event = wakeup()
    for result in (event.keys(), event.values(), event.items(), event._callchain):
        assert type(result) is list
    event._callchain.append("frame")
    event.keys().clear()
    assert event._callchain == []
    assert len(event.keys()) == 16


def test_what_is_missing() -> None:
    event = wakeup()
    assert "nosuch" not in event
    assert 5 not in event
    assert event.get("nosuch") is None
    assert event.get("nosuch", 7) == 7
    assert not hasattr(event, "nosuch")
    with pytest.raises(AttributeError) as attribute:
        event.nosuch  # noqa: B018
    assert str(attribute.value) == "'PerfEvent' object has no attribute 'nosuch'"
    for error in (AttributeError, KeyError):
        with pytest.raises(error) as item:
            event["nosuch"]
        assert str(item.value) == "'PerfEvent' object has no attribute 'nosuch'"


def test_a_key_must_be_a_string() -> None:
    event = wakeup()
    for key in (0, None, slice(1), b"pid"):
        with pytest.raises(TypeError, match=r"^field name must be a string$"):
            event[key]
        with pytest.raises(TypeError, match=r"^field name must be a string$"):
            event.get(key)


def test_repr() -> None:
    assert repr(wakeup()) == "<PerfEvent sched:sched_wakeup cpu=3 pid=23171 time=1276041168516>"


def test_an_alias_names_the_event() -> None:
    event: Any = decode(make_schema(alias="woken"), ROW)[0]
    assert event._event == "sched:woken"
    assert repr(event).startswith("<PerfEvent sched:woken cpu=0 ")


def test_equality_and_hash_go_by_content() -> None:
    event, same, later = wakeup(), wakeup(), wakeup(_time=5)
    elsewhere = decode(make_schema(), ROW, cpu=2)[0]
    assert type(event) is not type(same)
    assert event == same
    assert (event != same) is False
    assert hash(event) == hash(same)
    assert event != later
    assert event != elsewhere
    assert event != event.to_dict()
    assert len({event, same, later, elsewhere}) == 3


def test_it_does_not_behave_like_a_tuple() -> None:
    event = wakeup()
    for operation in (
        lambda: event + event,
        lambda: event * 2,
        lambda: 2 * event,
        lambda: event < event,
        lambda: event >= event,
    ):
        with pytest.raises(TypeError):
            operation()
    assert not hasattr(event, "count")
    assert not hasattr(event, "index")


def test_it_is_read_only() -> None:
    event = wakeup()
    for name in ("pid", "_cpu", "_event", "_realtime", "comm", "new"):
        with pytest.raises(AttributeError):
            setattr(event, name, 1)
        with pytest.raises(AttributeError):
            delattr(event, name)
    with pytest.raises(TypeError):
        event["pid"] = 1


def test_scripts_cannot_make_or_derive_events() -> None:
    event = wakeup()
    for kind in (PerfEvent, type(event)):
        with pytest.raises(TypeError, match=r"^cannot create 'perf_prof.PerfEvent' instances$"):
            kind()
        with pytest.raises(
            TypeError, match=r"^type 'perf_prof.PerfEvent' is not an acceptable base type$"
        ):
            type("Mine", (kind,), {})
    assert isinstance(event, PerfEvent)
    assert repr(type(event)) == "<class 'perf_prof.PerfEvent'>"


def test_numbers_keep_their_sign_and_size() -> None:
    event = with_fields(
        [
            *((f"s{size}", SIGNED, size) for size in (1, 2, 4, 8)),
            *((f"u{size}", UNSIGNED, size) for size in (1, 2, 4, 8)),
            ("pointer", POINTER, 8),
            ("yes", BOOL, 1),
        ],
        **{f"s{size}": -(2 ** (8 * size - 1)) for size in (1, 2, 4, 8)},
        **{f"u{size}": 2 ** (8 * size) - 1 for size in (1, 2, 4, 8)},
        pointer=0xFFFFFFFF813A82D5,
        yes=1,
    )
    assert [event[f"s{size}"] for size in (1, 2, 4, 8)] == [-128, -(2**15), -(2**31), -(2**63)]
    assert [event[f"u{size}"] for size in (1, 2, 4, 8)] == [255, 2**16 - 1, 2**32 - 1, 2**64 - 1]
    assert event.pointer == 0xFFFFFFFF813A82D5
    assert str(event.yes) == "1"


def test_strings_and_bytes() -> None:
    event = with_fields(
        [
            ("text", CHARS, 8),
            ("path", DYNAMIC_STRING, 8),
            ("array", BYTES, 4),
            ("list", DYNAMIC_BYTES, 8),
            ("empty", DYNAMIC_STRING, 8),
            ("after", UNSIGNED, 2),
        ],
        text=b"full 8 b",
        path=b"/tmp/\xff\xc3\xa4\0",
        array=b"a\0b\0",
        list=b"\1\2\0\4\5",
        after=7,
    )
    assert event.text == "full 8 b"
    assert event.path == "/tmp/\udcffä"
    assert event.path.encode("utf-8", "surrogateescape") == b"/tmp/\xff\xc3\xa4"
    assert event.array == b"a\0b\0"
    assert event.list == b"\1\2\0\4\5"
    assert event.empty == ""
    assert event.after == 7


def test_events_stay_valid_when_kept() -> None:
    # GIVEN events with dynamic data, of which some are kept
    schema = make_schema("test:event", own=(("path", DYNAMIC_STRING, 8), ("text", CHARS, 4)))
    decoder = EventDecoder(schema, 0)
    kept = []
    for number in range(50):
        values = {"path": b"/p%d" % number, "text": b"%d" % number}
        kept += decoder.decode(make_batch(schema, values, {}))
    # WHEN all batches are gone
    del schema, decoder
    # THEN the events read as before
    assert [event["path"] for event in kept[::2]] == [f"/p{number}" for number in range(50)]
    assert [event["text"] for event in kept[::2]] == [str(number) for number in range(50)]


def test_the_cache_of_strings_stays_small() -> None:
    cache = TextCache()
    assert [cache[b"%d\0" % number] for number in range(10_000)] == [
        str(number) for number in range(10_000)
    ]
    assert len(cache) <= 4096


def test_copies_and_pickles() -> None:
    event = wakeup()
    assert copy.copy(event) is event
    assert copy.deepcopy({"kept": [event]})["kept"][0] is event
    loaded = pickle.loads(pickle.dumps(event))
    assert type(loaded) is dict
    assert loaded == event.to_dict()


def test_keywords_are_field_names_too() -> None:
    event = with_fields([("from", SIGNED, 4), ("class", SIGNED, 4)], **{"from": 1, "class": 2})
    assert event["from"] == 1
    assert getattr(event, "class") == 2


# What a field of this name gives up as an attribute, by the way it is still reached.
METHODS = ("get", "keys", "values", "items", "to_dict", "print")


def test_no_field_name_collides_silently() -> None:
    # GIVEN every name that a PerfEvent or its class knows, and special names of Python
    names = {
        *dir(PerfEvent),
        *dir(type(PerfEvent)),
        *dir(wakeup()),
        *("__getattr__", "__bool__", "__del__", "__index__", "__dict__", "__syscall_nr", "_comm"),
        *("cpu", "time", "event", "self", "name", "mro"),
    } - {*COMMON_KEYS, "_comm", "comm", "pid", "prio", "target_cpu"}
    assert set(METHODS) < names
    for name in sorted(names):
        # WHEN an event has a field of that name
        schema = make_schema("test:event", own=((name, SIGNED, 4),))
        decoder = EventDecoder(schema, 0)
        event: Any = next(decoder.decode(make_batch(schema, {name: -4242})))
        # THEN it is an item in any case
        assert event[name] == event.get(name) == -4242
        assert name in event
        assert event.to_dict()[name] == -4242
        # AND it is the attribute, or a warning says that it is not
        if decoder.warnings:
            assert decoder.warnings == [
                f"test:event has a field {name!r}, which as an attribute is something else: "
                f"read it as event[{name!r}]"
            ]
            assert getattr(event, name, None) != -4242
            assert name in METHODS or name.startswith("__")
        else:
            assert getattr(event, name) == -4242
        # AND the event works on
        assert repr(event) == "<PerfEvent test:event cpu=0 pid=0 time=0>"
        assert hash(event) == hash(event)
        assert len(event.keys()) == 13


@pytest.mark.parametrize("name", ["count", "index", "__syscall_nr", "mro"])
def test_names_that_are_no_api_of_an_event_belong_to_the_field(name: str) -> None:
    schema = make_schema("test:event", own=((name, SIGNED, 4),))
    decoder = EventDecoder(schema, 0)
    assert decoder.warnings == []
    assert getattr(next(decoder.decode(make_batch(schema, {name: 9}))), name) == 9


def test_a_field_that_hides_behind_a_common_one_is_told() -> None:
    schema = make_schema("test:event", own=(("value", SIGNED, 4),))
    schema.all_fields.add(name="_cpu", kind=SIGNED, size=4)
    decoder = EventDecoder(schema, 0)
    assert decoder.warnings == [
        "test:event has a field '_cpu' of its own, which cannot be read: "
        "'_cpu' is the same for all events"
    ]


def test_a_field_that_was_not_requested_says_so() -> None:
    schema = make_schema(columns=["pid"])
    event: Any = decode(schema, {"_time": 5, "pid": 70})[0]
    text = (
        "field 'comm' of sched:sched_wakeup was not requested, as no handler was seen to read "
        "it: run with --all-fields"
    )
    assert event.pid == 70
    assert event._time == 5
    assert event._realtime == 5 + REALTIME_OFFSET
    assert "comm" in event
    with pytest.raises(AttributeError) as attribute:
        event.comm  # noqa: B018
    assert str(attribute.value) == text
    for read in (lambda: event["comm"], lambda: event.get("comm", ""), event.to_dict):
        with pytest.raises(AttributeError):
            read()
    for name in ("_pid", "_tid", "common_pid", "common_flags", "_comm"):
        with pytest.raises(AttributeError, match=f"^field '{name}' of sched:sched_wakeup was not"):
            getattr(event, name)
    assert repr(event) == "<PerfEvent sched:sched_wakeup cpu=0 pid=? time=5>"


def test_print_writes_perf_profs_line(capsys: pytest.CaptureFixture[str]) -> None:
    schema = make_schema()
    field = pb.Expression(field="comm")
    schema.print_format.CopyFrom(pb.PrintFormat(format="comm=%s", arguments=[field]))
    event: Any = decode(schema, ROW, cpu=3)[0]
    body = "            ugen  23172 d..2 [003] 1276.041168: sched:sched_wakeup: comm=kworker/1:0\n"

    event.print()
    assert capsys.readouterr().out == f"{local_time(event._realtime)} {body}"
    event.print(timestamp=False, callchain=False)
    assert capsys.readouterr().out == body
    with pytest.raises(TypeError):
        event.print(colour=True)
