"""What perf tells scripts of flags and symbols, from the print formats of events."""

from __future__ import annotations

import pytest

from ptrace_client.perf_script.defines import (
    DefineWalk,
    define_calls,
    sane_define_calls,
    schema_define_calls,
)
from ptrace_client.perf_script.print_args import Pending, parse
from ptrace_formats.event_format import EventFormat, parse_format
from ptrace_proto import ptrace_pb2 as pb


def event(print_fmt: str, *fields: str, name: str = "made") -> EventFormat:
    lines = "".join(
        f"\tfield:{declaration};\toffset:{8 + 8 * number};\tsize:8;\tsigned:0;\n"
        for number, declaration in enumerate(fields or ("u64 x", "u64 y", "__data_loc u8[] buf"))
    )
    common = "\tfield:int common_pid;\toffset:4;\tsize:4;\tsigned:1;\n"
    text = f"name: {name}\nID: 7\nformat:\n{common}\n{lines}\nprint fmt: {print_fmt}\n"
    return parse_format("s", text)


def calls(print_fmt: str) -> list[tuple[str | int, ...]]:
    """The calls, each as one tuple without the event: ("flag_field", "x", "|")."""
    return [
        (function.removeprefix("define_"), *arguments[1:])
        for function, arguments in define_calls(event(print_fmt))
    ]


def test_flags_and_symbols() -> None:
    made = calls(
        '"%s %s", __print_flags(REC->x, "|", { 1, "ONE" }, { 0x10, "TWO" }),'
        ' __print_symbolic(REC->y, { 3, "three" })'
    )
    assert made == [
        ("flag_field", "x", "|"),
        ("flag_value", "x", 1, "ONE"),
        ("flag_value", "x", 16, "TWO"),
        ("symbolic_field", "y"),
        ("symbolic_value", "y", 3, "three"),
    ]


@pytest.mark.parametrize(
    ("value", "evaluated"),
    [
        ("010", 8),
        ("0x1fUL", 31),
        ("1 << 3 | 1 << 2", 12),
        ("(unsigned long)(1 << 31)", 1 << 31),
        ("(1U << 4) - 1", 15),
        ("~0xf", 0),
        ("-1", 0),
        ("1 << 63", 0),
        ("9223372036854775808", -(1 << 63)),
        ("0xffffffffffffffffff", -1),
        ("(( u8)(0x1ff)) | 0", 0xFF),
        ("BIT", 0),
        ("TIMER_SOFTIRQ", 1),
        ("HRTIMER_RESTART", 1),
        ("'A'", 0),
        ("(1 > 2) || (4 >= 4)", 1),
    ],
)
def test_constants_are_evaluated_as_perf_does(value: str, evaluated: int) -> None:
    made = calls(f'"%s", __print_symbolic(REC->x, {{ {value}, "name" }})')
    assert made == [("symbolic_field", "x"), ("symbolic_value", "x", evaluated, "name")]


@pytest.mark.parametrize("value", ["2 * 3", "8 / 2", "!1", "REC->y", "1 ? 2 : 3"])
def test_what_perf_cannot_evaluate_ends_the_arguments(value: str) -> None:
    made = calls(
        f'"%d %s %d", __print_flags(REC->y, "", {{ 1, "kept" }}),'
        f' __print_symbolic(REC->x, {{ {value}, "name" }}), 5'
    )
    assert made == [("flag_field", "y", ""), ("flag_value", "y", 1, "kept")]


@pytest.mark.parametrize(
    ("arguments", "texts"),
    [
        # Every constant is a flag of the field that came last.
        ('REC->x ? "yes" : "no"', ["yes", "no"]),
        ("REC->x >> 20", ["20"]),
        ("(unsigned long long)REC->x, 7", ["7"]),
        ("(const char *)REC->x + 1", ["1"]),
        ('"a" "b\\n"', ["ab\\n"]),
        ("REC->x, ~5", ["5"]),
        ("REC->x[2]", ["2"]),
        ("__builtin_expect(1, 0)", ["1"]),
        ("__print_hex(REC->x, 16)", ["16"]),
        ("__print_array(REC->x, 4, 8)", ["4", "8"]),
        ("__get_str(buf), 9", ["9"]),
        ("min NULL", ["min NULL"]),
        # An operation in parentheses does not hold together: (x * 1) + 2, then 3 comes first.
        ("REC->x * (1 + 2) * 3", ["1", "3", "2"]),
        ("1, __get_dynamic_array(buf), 2", ["1"]),
        ("1, __get_dynamic_array_len(buf), 2", ["1"]),
        ("1, __get_bitmask(buf), 2", ["1"]),
        ("1, ((u32 *)__get_dynamic_array(buf))[0], 2", ["1", "0", "2"]),
        ("1, __get_dynamic_array(nosuch), 2", ["1"]),
        ("1, __get_dynamic_array(buf)[0], 2", ["1"]),
        ("1, unknown_function(REC->x), 2", ["1"]),
        ("1, sizeof(struct page), 2", ["1"]),
        ("1, (2, 3", ["1"]),
        ('1, "never closed', ["1"]),
        ("1, ", ["1"]),
        ("1 2, REC->x.y, 3", ["1 2"]),
    ],
)
def test_constants_become_flags(arguments: str, texts: list[str]) -> None:
    assert [call[-1] for call in calls(f'"%d", {arguments}')] == texts


@pytest.mark.parametrize("nested", ["(" * 5000 + "1", "1" + " + 1" * 50000, "-" * 5000 + "1"])
def test_what_is_nested_without_end_is_not_understood_or_walked(nested: str) -> None:
    define_calls(event(f'"%d", {nested}'))
    define_calls(event(f'"%d", __print_symbolic(REC->x, {{ {nested}, "name" }})'))


def test_the_field_stays_for_the_next_event() -> None:
    walk = DefineWalk()
    first = event('"%d", REC->x', name="first")
    second = event('"%d %d", 5, REC->y', name="second")
    assert walk.calls(first) == []
    assert walk.calls(second) == [("define_flag_value", ("s__second", "x", 0, "5"))]
    assert DefineWalk().calls(second) == [("define_flag_value", ("s__second", "", 0, "5"))]


def test_fields_are_marked_by_the_table_that_was_opened_last() -> None:
    fields = {"x", "y"}
    parsed = parse(
        '"", __print_flags((unsigned long)REC->x & REC->y, "", { 1, "a" }), REC->y', fields
    )
    assert (parsed.flags, parsed.symbols) == ({"x"}, set())
    # A table that was given up before its field marks the first field of the next event.
    pending = Pending()
    assert (
        parse('"", __print_symbolic(nosuch(REC->x), { 1, "a" })', fields, pending).symbols == set()
    )
    assert parse('"", REC->y', fields, pending).symbols == {"y"}
    assert parse('"", REC->y', fields, pending).symbols == set()


def test_sane_calls_tell_true_values_only() -> None:
    format = event(
        '"%s %s", __print_symbolic(REC->x, { REL, "rel" }, { -1, "none" }, { LOST, "lost" }),'
        ' REC->y ? "yes" : "no"'
    )
    assert sane_define_calls(format, {"REL": 1}.get) == [
        ("define_symbolic_field", ("s__made", "x")),
        ("define_symbolic_value", ("s__made", "x", 1, "rel")),
        ("define_symbolic_value", ("s__made", "x", (1 << 64) - 1, "none")),
    ]


def test_a_daemon_tells_values_that_the_format_does_not_have() -> None:
    schema = pb.EventSchema(system="timer", name="hrtimer_start")
    mode = schema.all_fields.add(name="mode")
    mode.named_values.values.add(value=1, name="REL")
    flags = schema.all_fields.add(name="flags")
    flags.named_values.flags = True
    flags.named_values.delimiter = "|"
    flags.named_values.values.add(value=4, name="HARD")
    schema.all_fields.add(name="plain")
    event = "timer__hrtimer_start"
    assert schema_define_calls(schema) == [
        ("define_symbolic_field", (event, "mode")),
        ("define_symbolic_value", (event, "mode", 1, "REL")),
        ("define_flag_field", (event, "flags", "|")),
        ("define_flag_value", (event, "flags", 4, "HARD")),
    ]
