"""PerfEvents of sampled events and of probes: their keys, members and lines."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from event_samples import (
    CALLCHAIN,
    COMMON,
    DYNAMIC_BYTES,
    DYNAMIC_STRING,
    POINTER,
    READ,
    REALTIME_OFFSET,
    REGS,
    SIGNED,
    UNSIGNED,
    Column,
    make_batch,
    make_sample_schema,
    make_schema,
    make_stack,
)

from ptrace_client.batch import BatchDecoder
from ptrace_client.event_decoder import EventDecoder
from ptrace_client.losses import Gap
from ptrace_client.printing import local_time
from ptrace_client.stacks import StackTable
from ptrace_proto import ptrace_pb2 as pb

MEMBERS: tuple[Column, ...] = (("ip", POINTER, 8), ("addr", POINTER, 8), ("period", UNSIGNED, 8))
STRUCTURES: tuple[Column, ...] = (
    ("read", READ, 8),
    ("regs_user", REGS, 8),
    ("regs_intr", REGS, 8),
    ("stack_user", DYNAMIC_BYTES, 8),
)
ROW = {
    "_time": 1280893697123,
    "_pid": 23170,
    "_tid": 23171,
    "_comm": b"perf",
    "ip": 0xFFFFFFFF81000010,
    "period": 10008746,
    "callchain": 1,
}
STACK = make_stack(1, (0xFFFFFFFF81000010, "vfs_read", 0x10, True, "[kernel.kallsyms]"))
FRAME = {
    "addr": 0xFFFFFFFF81000010,
    "symbol": "vfs_read",
    "offset": 0x10,
    "kernel": True,
    "dso": "[kernel.kallsyms]",
}


def sampled(schema: pb.EventSchema, wanted: set[str] | None = None, **values: Any) -> Any:
    stacks = StackTable()
    stacks.add([STACK])
    decoder = EventDecoder(schema, REALTIME_OFFSET, wanted, stacks)
    (event,) = decoder.decode(make_batch(schema, {**ROW, **values}, cpu=3))
    return event


class TestKeys:
    def test_are_those_of_all_then_the_members(self) -> None:
        event = sampled(make_sample_schema())
        expected = {
            "_pid": 23170,
            "_tid": 23171,
            "_time": 1280893697123,
            "_cpu": 3,
            "_realtime": 1280893697123 + REALTIME_OFFSET,
            "_event": "profile",
            "pid": 23170,
            "tid": 23171,
            "time": 1280893697123,
            "cpu": 3,
            "ip": 0xFFFFFFFF81000010,
            "period": 10008746,
            "callchain": [FRAME],
        }
        assert event.to_dict() == expected
        assert event.keys() == list(expected)
        assert {key: getattr(event, key) for key in expected} == expected
        assert {key: event[key] for key in expected} == expected
        assert len(event) == 13
        assert repr(event) == "<PerfEvent profile cpu=3 pid=23170 time=1280893697123>"

    def test_members_with_columns_of_their_own_keep_their_place(self) -> None:
        own = ("ip", "pid", "tid", "time", "cpu", "period")
        members = [(name, UNSIGNED, 8) for name in own]
        event = sampled(make_sample_schema(members=members), pid=1, tid=2, time=3, cpu=4)
        assert event.keys()[6:] == list(own)
        assert [event[name] for name in own] == [0xFFFFFFFF81000010, 1, 2, 3, 4, 10008746]
        assert event._cpu == 3

    def test_an_alias_is_the_name(self) -> None:
        assert sampled(make_sample_schema(alias="hot"))._event == "hot"

    @pytest.mark.parametrize("name", ["_callchain", "_period", "common_type", "common_pid"])
    def test_keys_of_tracepoints_are_none_of_theirs(self, name: str) -> None:
        event = sampled(make_sample_schema())
        assert name not in event
        with pytest.raises(AttributeError) as caught:
            getattr(event, name)
        assert str(caught.value) == f"'PerfEvent' object has no attribute {name!r}"

    def test_without_stacks_the_chain_is_empty_and_no_key(self) -> None:
        event = sampled(make_sample_schema(members=MEMBERS))
        assert event.callchain == event["callchain"] == []
        assert "callchain" not in event

    def test_a_member_on_request_is_a_key_where_it_was_requested(self) -> None:
        asked = make_sample_schema(
            members=MEMBERS, on_request=STRUCTURES, columns=["ip", "regs_user"]
        )
        event = sampled(asked)
        assert "regs_user" in event
        assert "regs_intr" not in event
        with pytest.raises(AttributeError) as caught:
            event.regs_intr  # noqa: B018
        assert str(caught.value) == (
            "field 'regs_intr' of profile was not requested, as no handler was seen to read it: "
            "read event.regs_intr in the handler itself"
        )
        assert event.get("nosuch", 5) == 5

    def test_a_usual_member_that_was_not_requested(self) -> None:
        event = sampled(make_sample_schema(columns=["ip"]))
        for name in ("period", "pid", "callchain"):
            with pytest.raises(AttributeError) as caught:
                event[name]
            assert str(caught.value) == (
                f"field {name!r} of profile was not requested, as no handler was seen to read "
                "it: run with --all-fields"
            )

    def test_batches_have_the_same_names(self) -> None:
        schema = make_sample_schema()
        batch = make_batch(schema, ROW, ROW, cpu=3)
        array = BatchDecoder(schema, REALTIME_OFFSET).decode(batch, Gap())
        names = ("pid", "tid", "time", "cpu", "_cpu", "_realtime", "ip", "period")
        assert [array[name].tolist() for name in names] == [
            [value] * 2 for value in (sampled(schema)[name] for name in names)
        ]
        for name in ("_period", "common_type", "common_pid"):
            with pytest.raises(ValueError, match=f"^no field of name {name}$"):
                array[name]


class TestStructures:
    @pytest.fixture
    def schema(self) -> pb.EventSchema:
        schema = make_sample_schema(
            members=MEMBERS,
            on_request=STRUCTURES,
            columns=["ip", *(column[0] for column in STRUCTURES)],
        )
        schema.sample.read_format = 1 | 4
        schema.sample.regs_user.extend(["ax", "ip"])
        schema.sample.regs_intr.append("sp")
        return schema

    def test_are_taken_apart(self, schema: pb.EventSchema) -> None:
        event = sampled(
            schema,
            read=struct.pack("<3Q", 7, 100, 3),
            regs_user=struct.pack("<3Q", 2, 5, 6),
            regs_intr=struct.pack("<Q", 0),
            stack_user=b"\1\2",
        )
        assert event.read == {"value": 7, "time_enabled": 100, "id": 3}
        assert event.regs_user == {"abi": 2, "ax": 5, "ip": 6}
        assert event.regs_intr == {"abi": 0}
        assert event.stack_user == b"\1\2"
        event.regs_user["ax"] = 9
        assert event.regs_user["ax"] == 5

    def test_have_registers_of_their_own(self, schema: pb.EventSchema) -> None:
        data = struct.pack("<2Q", 2, 8)
        event = sampled(schema, regs_user=data, regs_intr=data)
        assert (event.regs_user, event.regs_intr) == ({"abi": 2, "ax": 8}, {"abi": 2, "sp": 8})

    def test_count_where_events_are_compared(self, schema: pb.EventSchema) -> None:
        values = {"regs_user": struct.pack("<3Q", 2, 5, 6)}
        one, same, other = sampled(schema, **values), sampled(schema, **values), sampled(schema)
        assert one == same
        assert hash(one) == hash(same)
        assert one != other


class TestPrint:
    LINE = "            perf  23171 [003] 1280.893697: profile: 10008746 cpu-clock"
    CHAIN = "    ffffffff81000010 vfs_read+0x10 ([kernel.kallsyms])"

    @pytest.fixture
    def schema(self) -> pb.EventSchema:
        columns = ("_pid", "_tid", "_comm", "ip", "period", "callchain")
        return make_sample_schema(columns=columns)

    def test_is_as_perf_prof_has_it(
        self, schema: pb.EventSchema, capsys: pytest.CaptureFixture[str]
    ) -> None:
        sampled(schema).print()
        date = local_time(1280893697123 + REALTIME_OFFSET)
        assert capsys.readouterr().out == f"{date} {self.LINE}\n{self.CHAIN}\n"

    def test_without_time_and_stack(
        self, schema: pb.EventSchema, capsys: pytest.CaptureFixture[str]
    ) -> None:
        sampled(schema).print(timestamp=False, callchain=False)
        assert capsys.readouterr().out == f"{self.LINE}\n"

    def test_an_address(self, capsys: pytest.CaptureFixture[str]) -> None:
        schema = make_sample_schema("page-faults", MEMBERS)
        schema.sample.counter = "page-faults"
        sampled(schema, addr=0x7F0000001000, period=1).print(timestamp=False)
        assert capsys.readouterr().out == (
            "          :23171  23171 [003] 1280.893697: "
            "page-faults: 1 page-faults addr=0x7f0000001000\n"
        )


PROBE: tuple[Column, ...] = (
    ("ip", POINTER, 8),
    ("file", POINTER, 8),
    ("name", DYNAMIC_STRING, 8),
    ("count", UNSIGNED, 8),
    ("flags", SIGNED, 4),
)
RETURN: tuple[Column, ...] = (("ip", POINTER, 8), ("func", POINTER, 8), ("ret", SIGNED, 8))


def probe(event: str, own: tuple[Column, ...], /, **values: Any) -> Any:
    schema = make_schema(event, own=(*own, CALLCHAIN), common=COMMON)
    del schema.all_fields[-1]
    schema.stack, schema.source = True, pb.EVENT_SOURCE_PROBE
    return sampled(schema, common_preempt_count=1, _comm=b"ugen", _callchain=0, **values)


class TestProbes:
    def test_have_the_keys_of_tracepoints(self) -> None:
        event = probe("kprobe:vfs_read", PROBE, count=4096)
        assert event.keys()[:2] == ["_pid", "_tid"]
        assert event.keys()[11:] == ["_event", "ip", "file", "name", "count", "flags"]
        assert event._event == "kprobe:vfs_read"
        assert event.count == 4096
        assert event._callchain == []

    def test_print(self, capsys: pytest.CaptureFixture[str]) -> None:
        values = {"file": 0xFFFF8880, "name": b"/etc/passwd\0", "count": 4096, "flags": -1}
        probe("kprobe:vfs_read", PROBE, ip=0xFFFFFFFF81000000, **values).print(timestamp=False)
        assert capsys.readouterr().out == (
            "            ugen  23171 ...1 [003] 1280.893697: kprobe:vfs_read: "
            '(0xffffffff81000000) file=0xffff8880 name="/etc/passwd" count=4096 flags=-1\n'
        )

    def test_print_a_return(self, capsys: pytest.CaptureFixture[str]) -> None:
        values = {"ip": 0x55663AF25174, "func": 0x55663AF25149, "ret": -2}
        probe("uretprobe:target_fn", RETURN, **values).print(timestamp=False)
        assert capsys.readouterr().out == (
            "            ugen  23171 ...1 [003] 1280.893697: uretprobe:target_fn: "
            "(0x55663af25174 <- 0x55663af25149) ret=-2\n"
        )
