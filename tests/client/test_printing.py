"""Records are printed as the kernel prints them, and lines as perf-prof lays them out."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from event_samples import make_schema

from ptrace_client.printing import (
    Printer,
    chain_lines,
    latency_characters,
    local_time,
    terminal_safe,
)
from ptrace_proto import ptrace_pb2 as pb

Values = dict[str, object]

FIELDS = {
    "s8": (pb.FIELD_KIND_SIGNED, 1, "signed char"),
    "s32": (pb.FIELD_KIND_SIGNED, 4, "int"),
    "s64": (pb.FIELD_KIND_SIGNED, 8, "long"),
    "u8": (pb.FIELD_KIND_UNSIGNED, 1, "u8"),
    "u32": (pb.FIELD_KIND_UNSIGNED, 4, "u32"),
    "u64": (pb.FIELD_KIND_UNSIGNED, 8, "unsigned long"),
    "flag": (pb.FIELD_KIND_BOOL, 1, "bool"),
    "pointer": (pb.FIELD_KIND_POINTER, 8, "void *"),
    "comm": (pb.FIELD_KIND_CHAR_ARRAY, 16, "char[16]"),
    "path": (pb.FIELD_KIND_DYNAMIC_STRING, 4, "__data_loc char[]"),
    "bytes": (pb.FIELD_KIND_BYTES, 16, "u8[16]"),
    "words": (pb.FIELD_KIND_DYNAMIC_BYTES, 4, "__data_loc s32[]"),
}


def number(value: int) -> pb.Expression:
    return pb.Expression(number=value)


def text(value: str) -> pb.Expression:
    return pb.Expression(text=value)


def field(name: str) -> pb.Expression:
    return pb.Expression(field=name)


def call(name: str, *arguments: pb.Expression) -> pb.Expression:
    return pb.Expression(call=pb.Call(name=name, arguments=arguments))


def named(value: pb.Expression, flags: bool, names: dict[int, str]) -> pb.Expression:
    table = pb.NamedValues(flags=flags, delimiter="|")
    for key, name in names.items():
        table.values.add(value=key, name=name)
    return pb.Expression(named=pb.Named(value=value, names=table))


def event(print_format: pb.PrintFormat | None, fields: tuple[str, ...] = ()) -> pb.EventSchema:
    schema = pb.EventSchema(system="sys", name="event", alias="other", print_format=print_format)
    for name in fields or FIELDS:
        kind, size, ctype = FIELDS[name]
        info = schema.all_fields.add(name=name, kind=kind, size=size, type=ctype, element_size=1)
        if name == "words":
            info.element_size, info.element_signed = 4, True
    return schema


def printed(format: str, *arguments: pb.Expression, **values: object) -> str:
    parsed = pb.PrintFormat(format=format, arguments=arguments)
    return Printer(event(parsed)).fields_text(values)


@pytest.mark.parametrize(
    ("format", "name", "value", "expected"),
    [
        ("%d", "s32", -5, "-5"),
        ("%d", "u32", 0xFFFFFFFF, "-1"),
        ("%d", "u64", 1 << 32 | 7, "7"),
        ("%u", "s32", -1, "4294967295"),
        ("%u", "u32", 7, "7"),
        ("%i", "s8", -1, "-1"),
        ("%x", "s8", -1, "ffffffff"),
        ("%hhx", "s32", -1, "ff"),
        ("%hd", "u32", 0x18000, "-32768"),
        ("%hu", "s32", -1, "65535"),
        ("%lu", "s64", -1, "18446744073709551615"),
        ("%ld", "u64", (1 << 64) - 2, "-2"),
        ("%lld", "s32", -2, "-2"),
        ("%llx", "s32", -2, "fffffffffffffffe"),
        ("%zu", "u64", 9, "9"),
        ("%Lu", "u64", 1 << 63, "9223372036854775808"),
        ("%08lx", "u64", 0xABC, "00000abc"),
        ("%03d", "s32", 7, "007"),
        ("%-4d|", "s32", 7, "7   |"),
        ("%+d", "s32", 7, "+7"),
        ("%0x", "u32", 10, "a"),
        ("%X", "u32", 0xAB, "AB"),
        ("%o", "u32", 8, "10"),
        ("%#o", "u32", 8, "010"),
        ("%#5o", "u32", 8, "  010"),
        ("%#x", "u32", 255, "0xff"),
        ("%#x", "u32", 0, "0"),
        ("%#010x", "u32", 255, "0x000000ff"),
        ("%.3d", "s32", 7, "007"),
        ("%05.3d", "s32", 7, "  007"),
        ("%d", "flag", True, "1"),
        ("%c", "u8", 65, "A"),
        ("%c", "u8", 0, ""),
        ("%s", "comm", "bash", "bash"),
        ("%8s|", "comm", "bash", "    bash|"),
        ("%-8s|", "comm", "bash", "bash    |"),
        ("%.2s", "comm", "bash", "ba"),
        ("%s", "bytes", b"ab\0cd", "ab"),
        ("%s", "pointer", 0xFF, "ff"),
        ("%p", "pointer", 0xFFFF888000000000, "0xffff888000000000"),
        ("%p", "pointer", 0, "(nil)"),
        ("%pS", "pointer", 0x10, "0x10"),
        ("%ps!", "pointer", 0x10, "0x10!"),
        ("%pI4", "bytes", bytes([127, 0, 0, 1]), "127.0.0.1"),
        ("%pI4h", "bytes", bytes([1, 0, 0, 127]), "127.0.0.1"),
        ("%pi4", "bytes", bytes([127, 0, 0, 1]), "127.000.000.001"),
        ("%pI6", "bytes", bytes(15) + b"\1", "0000:0000:0000:0000:0000:0000:0000:0001"),
        ("%pi6", "bytes", bytes(15) + b"\1", "0" * 31 + "1"),
        ("%pI6c", "bytes", bytes(15) + b"\1", "::1"),
        ("%pI6c", "bytes", bytes(10) + b"\xff\xff\x7f\0\0\1", "::ffff:127.0.0.1"),
        ("%pISpc", "bytes", b"\2\0\x1f\x90\x7f\0\0\1" + bytes(8), "127.0.0.1:8080"),
        ("%pISpc", "bytes", b"\n\0\x1f\x90" + bytes(4) + bytes(15) + b"\1", "[::1]:8080"),
        ("%pM", "bytes", b"\x02\0\0\0\0\xff", "02:00:00:00:00:ff"),
        ("%pMF", "bytes", b"\x02\0\0\0\0\xff", "02-00-00-00-00-ff"),
        ("%pMR", "bytes", b"\x02\0\0\0\0\xff", "ff:00:00:00:00:02"),
        ("%pm", "bytes", b"\x02\0\0\0\0\xff", "0200000000ff"),
        ("%pU", "bytes", bytes(range(16)), "00010203-0405-0607-0809-0a0b0c0d0e0f"),
        ("%pUL", "bytes", bytes(range(16)), "03020100-0504-0706-0809-0A0B0C0D0E0F"),
        ("100%% %d%%", "s32", 5, "100% 5%"),
    ],
)
def test_conversions(format: str, name: str, value: object, expected: str) -> None:
    assert printed(format, field(name), **{name: value}) == expected


def test_widths_and_precisions_from_the_record() -> None:
    assert printed("%*s|", field("s32"), field("comm"), s32=6, comm="sh") == "    sh|"
    assert printed("%*s|", field("s32"), field("comm"), s32=-6, comm="sh") == "sh    |"
    assert printed("%.*s", field("s32"), field("path"), s32=3, path="/etc/passwd") == "/et"
    assert printed("%.*s", field("s32"), field("path"), s32=-1, path="/etc") == "/etc"
    assert printed("%*d", field("s32"), field("u32"), s32=4, u32=7) == "   7"
    assert len(printed("%*d", field("s32"), field("u32"), s32=1 << 30, u32=7)) == 4096


def test_precision_counts_bytes() -> None:
    assert printed("%.4s", field("comm"), comm="aöö") == "aö\udcc3"
    assert printed("%.3s", field("comm"), comm="aöö") == "aö"


@pytest.mark.parametrize(
    ("format", "length", "value", "expected"),
    [
        ("%*pbl", 1024, b"\x0f\x01", "0-3,8"),
        ("%*pbl", 3, b"\x0f\x01", "0-2"),
        ("%*pbl", 1024, bytes(16), ""),
        ("%*pb", 64, b"\3" + bytes(7), "00000000,00000003"),
        ("%*ph", 3, b"\1\2\xff\4", "01 02 ff"),
        ("%*phN", 2, b"\1\2\xff\4", "0102"),
    ],
)
def test_bit_masks_and_raw_bytes(format: str, length: int, value: bytes, expected: str) -> None:
    assert printed(format, number(length), field("bytes"), bytes=value) == expected


@pytest.mark.parametrize(
    ("expression", "values", "expected"),
    [
        (call("+", field("s32"), number(1)), {"s32": 2147483647}, "-2147483648"),
        (call("+", field("u32"), number(1)), {"u32": 0xFFFFFFFF}, "0"),
        (call("+", field("u8"), number(1)), {"u8": 255}, "256"),
        (call("-", field("u64"), number(1)), {"u64": 0}, "-1"),
        (call("*", field("u64"), number(2)), {"u64": 1 << 63 | 3}, "6"),
        (call("/", field("s32"), number(2)), {"s32": -7}, "-3"),
        (call("%", field("s32"), number(2)), {"s32": -7}, "-1"),
        (call("/", field("s32"), field("u8")), {"s32": 7, "u8": 0}, "0"),
        (call("%", field("s32"), field("u8")), {"s32": 7, "u8": 0}, "0"),
        (call(">>", field("s32"), number(1)), {"s32": -4}, "-2"),
        (call(">>", field("u32"), number(20)), {"u32": 0xFE000000}, "4064"),
        (call("<<", number(1), field("u8")), {"u8": 33}, "2"),
        (call("&", field("s32"), number(-8)), {"s32": -1}, "-8"),
        (call("|", field("u8"), number(256)), {"u8": 1}, "257"),
        (call("^", field("s64"), number(1)), {"s64": -1}, "-2"),
        (call("~", field("u8")), {"u8": 0}, "-1"),
        (call("neg", field("u32")), {"u32": 1}, "4294967295"),
        (call("!", field("u32")), {"u32": 1}, "0"),
        (call("<", field("s32"), number(0)), {"s32": -1}, "1"),
        (call("<", field("s32"), field("u32")), {"s32": -1, "u32": 1}, "0"),
        (call("<", field("s64"), field("u32")), {"s64": -1, "u32": 1}, "1"),
        (call(">=", field("s8"), number(-1)), {"s8": -1}, "1"),
        (call("==", field("u64"), call("cast:u64", number(-1))), {"u64": (1 << 64) - 1}, "1"),
        (call("&&", field("u32"), field("u8")), {"u32": 2, "u8": 4}, "1"),
        (call("||", field("u32"), field("u8")), {"u32": 0, "u8": 0}, "0"),
        (call("?:", field("u8"), field("s32"), number(9)), {"u8": 0, "s32": 1}, "9"),
        (call("?:", field("u8"), field("s32"), number(9)), {"u8": 1, "s32": -1}, "-1"),
        (call("cast:u8", field("s32")), {"s32": 300}, "44"),
        (call("cast:s8", field("s32")), {"s32": 200}, "-56"),
        (call("cast:bool", field("u64")), {"u64": 1 << 40}, "1"),
        (call("cast:u64", field("s32")), {"s32": -1}, "-1"),
        (call("[]", field("words"), number(1)), {"words": b"\0\0\0\0\xfe\xff\xff\xff"}, "-2"),
        (call("[]", field("words"), number(9)), {"words": b""}, "0"),
        (call("[]", call("cast:u8 *", field("words")), number(0)), {"words": b"\xff\0\0\0"}, "255"),
        (call("[]", call("__get_str", field("path")), number(0)), {"path": "A"}, "65"),
        (call("__get_dynamic_array_len", field("words")), {"words": bytes(12)}, "12"),
        (call("__get_dynamic_array_len", field("path")), {"path": "abc"}, "4"),
        (call("sizeof", field("u64")), {}, "8"),
        (call("__print_ns_to_secs", field("u64")), {"u64": 1_000_000_007}, "1"),
        (call("__print_ns_without_secs", field("u64")), {"u64": 1_000_000_007}, "7"),
    ],
)  # fmt: skip
def test_expressions_compute_as_c_does(
    expression: pb.Expression, values: Values, expected: str
) -> None:
    assert printed("%lld", expression, **values) == expected


@pytest.mark.parametrize(
    ("expression", "values", "expected"),
    [
        (call("?:", field("u8"), text("yes"), text("no")), {"u8": 1}, "yes"),
        (call("?:", field("u8"), call("__get_str", field("path")), text("no")),
         {"u8": 1, "path": "/etc"}, "/etc"),
        (call("?:", field("u8"), field("comm"), number(0)), {"u8": 0, "comm": "x"}, "(null)"),
        (call("__get_bitmask", field("bytes")), {"bytes": b"\1\0\0\0\2\0\0\0"},
         "00000002,00000001"),
        (call("__print_hex", field("bytes"), number(3)), {"bytes": b"\1\2\xff\4"}, "01 02 ff"),
        (call("__print_hex_str", field("bytes"), field("u8")), {"bytes": b"\1\2", "u8": 9}, "0102"),
        (call("__print_array", call("__get_dynamic_array", field("words")), number(2), number(4)),
         {"words": b"\1\0\0\0\xff\0\0\0\2\0\0\0"}, "{0x1,0xff}"),
        (call("__print_dynamic_array", field("words"), number(2)), {"words": b"\1\0\2\0"},
         "{0x1,0x2}"),
        (call("__print_hex_dump", text("> "), number(2), number(16), number(1), field("bytes"),
              number(17), number(1)), {"bytes": b"A" * 17},
         "> 00000000: " + "41 " * 16 + " " + "A" * 16 + "\n> 00000010: 41" + " " * 47 + "A"),
    ],
)  # fmt: skip
def test_helpers_write_text(expression: pb.Expression, values: Values, expected: str) -> None:
    assert printed("%s", expression, **values) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0, ""), (1, "A"), (3, "A|B"), (4, "0x4"), (0x101, "A|0x100"), (8 | 1, "A|0x8")],
)
def test_flags(value: int, expected: str) -> None:
    flags = named(field("u64"), True, {0: "none", 1: "A", 2: "B", 12: "both"})
    assert printed("%s", flags, u64=value) == expected


@pytest.mark.parametrize(
    ("value", "expected"), [(0, "zero"), (1, "0x1"), (-1, "minus"), (-2, "0xfffffffffffffffe")]
)
def test_symbols(value: int, expected: str) -> None:
    symbols = named(field("s32"), False, {0: "zero", (1 << 64) - 1: "minus", 5: "five"})
    assert printed("%s", symbols, s32=value) == expected


def test_first_of_two_names_of_a_value_counts() -> None:
    symbols = named(field("u8"), False, {1: "first"})
    symbols.named.names.values.add(value=1, name="second")
    assert printed("%s", symbols, u8=1) == "first"


@pytest.mark.parametrize(
    ("format", "arguments"),
    [
        ("%d %d", [field("s32")]),
        ("%d", [field("missing")]),
        ("%d", [call("jiffies_to_msecs", field("s32"))]),
        ("%d", [call("+", field("s32"))]),
        ("%d", [call("cast:struct page", field("s32"))]),
        ("%d", [pb.Expression()]),
        ("%f", [field("s32")]),
        ("%99999d", [field("s32")]),
        ("%pI4", [field("s32")]),
        ("%d", [call("[]", field("s32"), number(0))]),
        ("%d", [call("v[0]", field("s32"))]),
    ],
)
def test_what_cannot_be_evaluated_is_printed_raw(
    format: str, arguments: list[pb.Expression]
) -> None:
    printer = Printer(event(pb.PrintFormat(format=format, arguments=arguments), ("s32", "u8")))
    assert printer.fields_text({"s32": -5, "u8": 6}) == "[FAILED TO PARSE] s32=-5 u8=6"


@pytest.mark.parametrize("operator", ["neg", "~", "!", "cast:s8", "__get_str", "<<", "?:"])
def test_deepest_expression_that_a_message_can_hold(operator: str) -> None:
    rest = {"<<": [number(1)], "?:": [number(1), number(2)]}.get(operator, [])
    deepest = field("s8")
    for _ in range(48):
        deepest = call(operator, deepest, *rest)
    assert printed("%d", deepest, s8=0) in ("0", "-1", "1", "2")


def test_raw_fields_are_written_as_perf_writes_them() -> None:
    fields = ("s32", "u32", "u64", "pointer", "flag", "comm", "path", "bytes")
    values = {
        "s32": -5, "u32": 5, "u64": 255, "pointer": 4096, "flag": True, "comm": "sh",
        "path": "/etc", "bytes": b"\1\xff",
    }  # fmt: skip
    assert Printer(event(None, fields)).fields_text(values) == (
        "[FAILED TO PARSE] s32=-5 u32=5 u64=0xff pointer=0x1000 flag=1 comm=sh path=/etc "
        "bytes=ARRAY[01, ff]"
    )


def test_record_without_a_field_of_the_format_is_printed_raw() -> None:
    parsed = pb.PrintFormat(format="%d %d", arguments=[field("s32"), field("u8")])
    assert Printer(event(parsed)).fields_text({"s32": 1}) == "[FAILED TO PARSE] s32=1"


def test_names_from_the_server_stay_data() -> None:
    name = "']+__import__('os').abort()#"
    schema = event(pb.PrintFormat(format='%s"%d', arguments=[text("'\"\\"), field(name)]), ("s32",))
    schema.all_fields.add(name=name, kind=pb.FIELD_KIND_SIGNED, size=4)
    assert Printer(schema).fields_text({name: 3}) == '\'"\\"3'


@pytest.mark.parametrize(
    ("flags", "count", "expected"),
    [
        (0x00, 0x00, "...."),
        (0x01, 0x07, "d..7"),
        (0x00, 0x01, "...1"),
        (0x81, 0x0F, "D..f"),
        (0x80, 0x00, "b..."),
        (0x04, 0x00, ".n.."),
        (0x20, 0x00, ".p.."),
        (0x24, 0x00, ".N.."),
        (0x02, 0x00, ".l.."),
        (0x22, 0x00, ".L.."),
        (0x06, 0x00, ".b.."),
        (0x26, 0x00, ".B.."),
        (0x08, 0x00, "..h."),
        (0x10, 0x00, "..s."),
        (0x18, 0x00, "..H."),
        (0x40, 0x00, "..z."),
        (0x48, 0x00, "..Z."),
        (0x00, 0x12, "...21"),
    ],
)
def test_latency_characters(flags: int, count: int, expected: str) -> None:
    assert latency_characters(flags, count) == expected


@pytest.fixture
def in_utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("in_utc")
def test_line_is_laid_out_as_perf_prof_does() -> None:
    parsed = pb.PrintFormat(format="comm=%s pid=%d", arguments=[field("comm"), field("s32")])
    printer = Printer(event(parsed))
    line = printer.line(
        {"comm": "tokio-rt-worker", "s32": 70},
        comm="kworker/1:0-vir",
        tid=20388,
        cpu=1,
        time=1_014_369_212_999,
        realtime=1_795_239_362_024_506_999,
        flags=1,
        preempt_count=7,
    )
    assert line == (
        "2026-11-21 05:36:02.024506  kworker/1:0-vir  20388 d..7 [001] 1014.369212: "
        "sys:event: comm=tokio-rt-worker pid=70"
    )


def test_line_without_date() -> None:
    parsed = pb.PrintFormat(format="")
    line = Printer(event(parsed)).line(
        {}, comm="perf", tid=7, cpu=12, time=5, realtime=0, flags=0, preempt_count=0,
        timestamp=False,
    )  # fmt: skip
    assert line == "            perf      7 .... [012] 0.000000: sys:event: "


@pytest.mark.usefixtures("in_utc")
def test_local_time_keeps_microseconds() -> None:
    assert local_time(1_000_000_999) == "1970-01-01 00:00:01.000000"
    assert local_time(1_999_999_999) == "1970-01-01 00:00:01.999999"


def test_chain_lines() -> None:
    frames = [
        {
            "addr": 0xFFFFFFFF813A82D5,
            "symbol": "ttwu_do_activate",
            "offset": 0x175,
            "kernel": True,
            "dso": "[kernel.kallsyms]",
        },
        {"addr": 0x7F32777162AD, "symbol": "Unknown", "offset": 0, "kernel": False, "dso": ""},
    ]
    assert chain_lines(frames) == [
        "    ffffffff813a82d5 ttwu_do_activate+0x175 ([kernel.kallsyms])",
        "    00007f32777162ad Unknown (Unknown)",
    ]


def test_names_in_chains_stay_on_their_lines() -> None:
    frame = {"addr": 1, "symbol": "f\x1b[2J\n", "offset": 2, "kernel": False, "dso": "/é\n"}
    assert chain_lines([frame]) == ["    0000000000000001 f\\x1b[2J\\x0a+0x2 (/é\\x0a)"]


def test_an_event_stays_on_its_line_whatever_its_task_is_called() -> None:
    line = Printer(make_schema()).line(
        {"comm": "c\x1b[2J\nforged", "pid": 1},
        comm="x\x1b]0;owned\x07\nforged",
        tid=1,
        cpu=0,
        time=0,
        realtime=0,
        flags=0,
        preempt_count=0,
    )
    assert line.isprintable()
    assert "x\\x1b]0;owned\\x07\\x0aforged" in line


def test_terminal_safe_lets_no_control_character_pass() -> None:
    assert terminal_safe("a\x1b[2J\r\x07\x7f\x9b\udcff") == "a\\x1b[2J\\x0d\\x07\\x7f\\x9b\\xff"
    assert terminal_safe("tab\tline\nö") == "tab\tline\nö"
    # Written from right to left, what follows would look like something else.
    assert terminal_safe("a\u202egnp.exe\u2028") == "a\\u202egnp.exe\\u2028"
