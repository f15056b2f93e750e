"""Print formats are parsed into expressions that need nothing but a record's fields."""

from __future__ import annotations

import pytest
from google.protobuf import text_format

from ptrace_formats import print_fmt
from ptrace_proto import ptrace_pb2 as pb
from ptraced import enumerators
from ptraced.tracefs import Tracefs

NEED_THE_KERNEL = {
    "jbd2:jbd2_checkpoint_stats": "jiffies_to_msecs()",
    "jbd2:jbd2_run_stats": "jiffies_to_msecs()",
    "kvmmmu:kvm_mmu_get_page": "prints from within a statement expression",
    "kvmmmu:kvm_mmu_prepare_zap_page": "prints from within a statement expression",
    "kvmmmu:kvm_mmu_sync_page": "prints from within a statement expression",
    "kvmmmu:kvm_mmu_unsync_page": "prints from within a statement expression",
    "ras:mc_event": "mc_event_error_type()",
    "writeback:writeback_sb_inodes_requeue": "the variable jiffies",
    "writeback:writeback_single_inode": "the variable jiffies",
    "writeback:writeback_single_inode_start": "the variable jiffies",
}


def parsed(source: str, constants: dict[str, int] | None = None) -> pb.PrintFormat:
    result = print_fmt.parse(source, ["a", "b", "name", "list"], (constants or {}).get)
    assert result is not None
    return result


def argument(source: str, constants: dict[str, int] | None = None) -> str:
    """The argument of a format with one, on one line."""
    (expression,) = parsed(f'"%d", {source}', constants).arguments
    return text_format.MessageToString(expression, as_one_line=True)


def table(source: str, constants: dict[str, int] | None = None) -> dict[int, str]:
    (expression,) = parsed(f'"%s", {source}', constants).arguments
    return {entry.value: entry.name for entry in expression.named.names.values}


def test_all_formats_of_this_kernel_but_known_ones_parse() -> None:
    tracefs = Tracefs.find()
    failed = set()
    for title in tracefs.names():
        format = tracefs.format(*title.split(":"))
        names = [field.name for field in format.fields]
        if print_fmt.parse(format.print_fmt, names, enumerators.value_in_kernel) is None:
            failed.add(title)
    assert failed <= NEED_THE_KERNEL.keys()


def test_format_without_arguments() -> None:
    assert parsed('""') == pb.PrintFormat()
    assert parsed('"a%%\\n"').format == "a%%\n"


def test_escapes() -> None:
    assert parsed(r'"\101\x42\"\\\t"').format == 'AB"\\\t'


def test_adjacent_strings_are_one() -> None:
    assert parsed('"a=%d"\n" b=%d", REC->a, REC->b').format == "a=%d b=%d"


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("REC->a", 'field: "a"'),
        ("(REC)->a", 'field: "a"'),
        ("((REC->a))", 'field: "a"'),
        ("1", "number: 1"),
        ("'A'", "number: 65"),
        ("-1", "number: -1"),
        ("1L", 'call { name: "cast:s64" arguments { number: 1 } }'),
        ("-1UL", 'call { name: "cast:u64" arguments { number: -1 } }'),
        ("0x80000000", 'call { name: "cast:u32" arguments { number: 2147483648 } }'),
        ("017", "number: 15"),
        ("1 ? REC->a : REC->b", 'field: "a"'),
        ("sizeof(u16)", 'call { name: "cast:u64" arguments { number: 2 } }'),
        ("sizeof(void *)", 'call { name: "cast:u64" arguments { number: 8 } }'),
        ("__builtin_expect(REC->a, 0)", 'field: "a"'),
        ('"text"[0]', 'call { name: "[]" arguments { text: "text" } arguments { number: 0 } }'),
        ("!REC->a", 'call { name: "!" arguments { field: "a" } }'),
        ("-REC->a", 'call { name: "neg" arguments { field: "a" } }'),
        ("(unsigned long)REC->a", 'call { name: "cast:u64" arguments { field: "a" } }'),
        ("(const void *)REC->a", 'call { name: "cast:void *" arguments { field: "a" } }'),
        ("(u8 *)REC->list", 'call { name: "cast:u8 *" arguments { field: "list" } }'),
        ("(bool)REC->a", 'call { name: "cast:bool" arguments { field: "a" } }'),
        ("(xfs_unknown_t)REC->a", 'field: "a"'),
        ("__get_str(name)", 'call { name: "__get_str" arguments { field: "name" } }'),
    ],
)
def test_operand(source: str, expected: str) -> None:
    assert argument(source) == expected


@pytest.mark.parametrize(
    ("source", "same"),
    [
        ("REC->a + REC->b * 2", "REC->a + (REC->b * 2)"),
        ("REC->a - REC->b - 1", "(REC->a - REC->b) - 1"),
        ("REC->a >> 2 & 7", "(REC->a >> 2) & 7"),
        ("REC->a & 1 == 0", "REC->a & (1 == 0)"),
        ("REC->a || REC->b && 1", "REC->a || (REC->b && 1)"),
        ("REC->a ? 1 : REC->b ? 2 : 3", "REC->a ? 1 : (REC->b ? 2 : 3)"),
        ("!REC->a == REC->b", "(!REC->a) == REC->b"),
        ("(int)REC->a + 1", "((int)REC->a) + 1"),
        ("REC->list[REC->a] + 1", "(REC->list[REC->a]) + 1"),
        ("~(0x1 | 2) & REC->a", "-4 & REC->a"),
        ("({ int x = (REC->a); int y = (8); ((x) < (y) ? (x) : (y)); })",
         "(int)REC->a < 8 ? (int)REC->a : 8"),
    ],
)  # fmt: skip
def test_precedence(source: str, same: str) -> None:
    assert argument(source) == argument(same)


@pytest.mark.parametrize(
    ("source", "value"),
    [
        ("7 / -2", -3),
        ("-7 % 3", -1),
        ("1 << 31", -(1 << 31)),
        ("(1U << 20) - 1", (1 << 20) - 1),
        ("-1 > 0U", 1),
        ("(unsigned char)300", 44),
        ("(signed char)200", -56),
        ("(char)200", 200),
        ("(u16)65535 + (u16)1", 65536),
        ("(bool)2", 1),
        ("~0U >> 28", 15),
        ("(((1 | 2) + 1) << 1) - 1", 7),
        ("1 < 2 && 0 || 3 == 3", 1),
        ("(unsigned long)(gfp_t)((1UL) << (33))", 0),
    ],
)
def test_constants_are_computed_as_c_does(source: str, value: int) -> None:
    (node,) = parsed(f'"%d", {source}').arguments
    number = node.call.arguments[0] if node.WhichOneof("node") == "call" else node
    assert number.number == value


def test_flags() -> None:
    (expression,) = parsed(
        '"%s", __print_flags(REC->a & 7, "|", { 1UL << 1, "B" }, {0x1, "A" "A"})'
    ).arguments
    assert expression.named == pb.Named(
        value=parsed('"%d", REC->a & 7').arguments[0],
        names=pb.NamedValues(
            flags=True,
            delimiter="|",
            values=[pb.NamedValue(value=2, name="B"), pb.NamedValue(value=1, name="AA")],
        ),
    )


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        ('{ -1, "none" }', {(1 << 64) - 1: "none"}),
        ('{ 1, "one" }, { 0, ((void *)0) }', {1: "one"}),
        ('{ 1, "one" }, { 0, 0 }', {1: "one"}),
        ('{ 1, "one" }, { -1, NULL }', {1: "one"}),
        ("{ }", {}),
        ('{ 1, "one" }, { UNKNOWN, "gone" }, { (1 << (UNKNOWN)), "too" }, { 2, "two" }',
         {1: "one", 2: "two"}),
    ],
)  # fmt: skip
def test_tables(entries: str, expected: dict[int, str]) -> None:
    assert table(f"__print_symbolic(REC->a, {entries})") == expected


def test_constants_explain_names() -> None:
    source = '__print_symbolic(REC->a, { ONE, "one" }, { 1 << TWO, "two" })'
    assert table(source, {"ONE": 1, "TWO": 2}) == {1: "one", 4: "two"}


def test_enumerators_of_the_kernel_explain_names() -> None:
    format = Tracefs.find().format("block", "block_rq_issue")
    parsed = print_fmt.parse(
        format.print_fmt, [field.name for field in format.fields], enumerators.value_in_kernel
    )
    assert parsed is not None
    (priority,) = [it.named for it in parsed.arguments if it.WhichOneof("node") == "named"]
    assert {entry.value: entry.name for entry in priority.names.values} == {
        0: "none",
        1: "rt",
        2: "be",
        3: "idle",
        7: "invalid",
    }


@pytest.mark.parametrize(
    "source",
    [
        "",
        "REC->a",
        '"%d", REC->missing',
        '"%d", jiffies',
        '"%d", jiffies_to_msecs(REC->a)',
        '"%d", REC->a +',
        '"%d", (REC->a',
        '"%d" REC->a',
        '"%d", REC->a;',
        '"%d", 1 / 0',
        '"%d", 1 << 64',
        '"%d", sizeof(struct page)',
        '"%d", __get_str(missing)',
        '"%s", __print_flags(REC->a, "|", { 1, REC->b })',
        '"%s", __print_flags(REC->a, "|", { UNKNOWN',
        '"%s", ({ const char *p = trace_seq_buffer_ptr(p); p; })',
        '"%d", ' + "(" * 5000 + "REC->a" + ")" * 5000,
        '"%d", ' + "!" * 60 + "REC->a",
        '"%d", ' + "!" * 40 + "REC->a",
        '"%d", @',
        '"open',
    ],
)
def test_what_only_the_kernel_knows_or_nobody_is_refused(source: str) -> None:
    assert print_fmt.parse(source, ["a", "b"]) is None


def test_deepest_expression_fits_into_a_response() -> None:
    response = pb.TraceResponse()
    schema = response.started.schemas.add()
    schema.print_format.CopyFrom(parsed('"%d", ' + "!" * 39 + "REC->a"))
    assert pb.TraceResponse.FromString(response.SerializeToString()) == response


def test_named_values_are_found_by_field() -> None:
    found = print_fmt.named_values(
        parsed(
            '"%s %s %s", (REC->a & 7) ? __print_flags(REC->a & 7, "|", { 1, "S" }) : "R", '
            '__print_symbolic((int)REC->b, { 2, "two" }), '
            '__print_symbolic(REC->name >> 3, { 3, "three" })'
        )
    )
    assert {field: [entry.name for entry in names.values] for field, names in found.items()} == {
        "a": ["S"],
        "b": ["two"],
    }
    assert found["a"].flags
    assert not found["b"].flags
