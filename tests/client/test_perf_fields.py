"""Field values as perf's Python engine passes them."""

from __future__ import annotations

from struct import pack

import pytest

from ptrace_client.perf_script.fields import ArrayValues, field_code, perf_field
from ptrace_formats.event_format import EventFormat, FormatError, parse_format

COMMON = (
    "\tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;\n"
    "\tfield:unsigned char common_flags;\toffset:2;\tsize:1;\tsigned:0;\n"
    "\tfield:unsigned char common_preempt_count;\toffset:3;\tsize:1;\tsigned:0;\n"
    "\tfield:int common_pid;\toffset:4;\tsize:4;\tsigned:1;\n"
)


def event(*fields: str) -> EventFormat:
    """An event of fields that are given as "declaration@offset+size" or "...+size-" if signed."""
    lines = []
    for each in fields:
        declaration, _, place = each.partition("@")
        offset, _, size = place.partition("+")
        signed = int(size.endswith("-"))
        lines.append(
            f"\tfield:{declaration};\toffset:{offset};\tsize:{size.rstrip('-')};\tsigned:{signed};\n"
        )
    text = f'name: made\nID: 7\nformat:\n{COMMON}\n{"".join(lines)}\nprint fmt: ""\n'
    return parse_format("test", text)


def values(
    format: EventFormat,
    record: bytes,
    big_endian: bool = False,
    sane: bool = False,
) -> list[object]:
    read = field_code(format, big_endian=big_endian, sane=sane).reader()
    behind = b"behind\0"
    return list(read(b"in front" + record + behind, 8, 8 + len(record)))


HEADER = pack("<HBBi", 7, 0, 0, 42)


@pytest.mark.parametrize(
    ("declaration", "size", "perf", "sane"),
    [
        ("s8 x", "1-", 0xFF, -1),
        ("u8 x", "1", 0xFF, 0xFF),
        ("short x", "2-", 0xFFFF, -1),
        ("int x", "4-", 0xFFFFFFFF, -1),
        ("unsigned int x", "4", 0xFFFFFFFF, 0xFFFFFFFF),
        ("long x", "8-", -1, -1),
        ("const void * x", "8", 2**64 - 1, 2**64 - 1),
        ("struct timespec64 x", "16", 0, bytearray(b"\xff" * 16)),
        # A locator that is not declared as an array.
        ("__data_loc cpumask_t x", "4-", 0xFFFFFFFF, bytearray(b"")),
    ],
)
def test_perf_knows_signs_of_eight_bytes_only(
    declaration: str, size: str, perf: object, sane: object
) -> None:
    format = event(f"{declaration}@8+{size}")
    assert values(format, HEADER + b"\xff" * 16) == [perf]
    assert values(format, HEADER + b"\xff" * 16, sane=True) == [sane]


def test_a_char_array_is_text_until_it_is_not() -> None:
    read = field_code(event("char rwbs[8]@8+8")).reader()

    def value(content: bytes) -> object:
        return read(HEADER + content, 0, 16)[0]

    assert value(b"RM\0\0\0\0\0\0") == "RM"
    assert value(b"RM\0\0\0\0\0\0") == "RM"
    assert value(bytes(8)) == ""
    assert value(b"RM\0\1\2\3\4\0") == "RM"
    assert value("grün\0".encode().ljust(8, b"\0")) == "grün"
    assert value(b"RM\0\0work") == bytearray(b"RM\0\0work")
    assert value(b"RM\0\0\0\0\0\0") == bytearray(b"RM\0\0\0\0\0\0")
    # What a script does to one value is not seen in the next.
    value(b"RM\0\0\0\0\0\0").clear()  # type: ignore[attr-defined]
    assert value(b"RM\0\0\0\0\0\0") == bytearray(b"RM\0\0\0\0\0\0")


@pytest.mark.parametrize("content", [b"\x7f\0", b"\x1b[0m\0", b"\x80\0", b"no end"])
def test_what_is_not_text(content: bytes) -> None:
    format = event(f"char x[{len(content)}]@8+{len(content)}")
    assert values(format, HEADER + content) == [bytearray(content)]


@pytest.mark.parametrize("content", [b"\t\n\v\f\r\0", b" ~\0", b"\0"])
def test_what_is_text(content: bytes) -> None:
    format = event(f"char x[{len(content)}]@8+{len(content)}")
    assert values(format, HEADER + content) == [content.rstrip(b"\0").decode()]


def test_text_that_is_no_utf8_is_escaped() -> None:
    assert values(event("char x[3]@8+3"), HEADER + b"\xff\xfe\0") == ["\\xff\\xfe"]


@pytest.mark.parametrize(
    ("declaration", "text"),
    [
        ("char x[4]", True),
        ("unsigned char x[4]", True),
        ("__u8 x[4]", True),
        ("u8 x[4]", True),
        ("s8 x[4]", True),
        ("uint8_t x[1]", False),
        ("unsigned long x[4]", False),
        ("__data_loc char[] x", True),
        ("__data_loc u8[] x", True),
        ("__rel_loc char[] x", True),
        ("__data_loc unsigned long[] x", False),
        ("char x", False),
    ],
)
def test_text_is_told_by_the_declaration(declaration: str, text: bool) -> None:
    [declared] = event(f"{declaration}@8+4").fields
    assert perf_field(declared).text is text


def test_arrays_of_numbers_are_bytes() -> None:
    content = pack("<6Q", 1, 2, 3, 4, 5, 6)
    format = event("long id@8+8-", "unsigned long args[6]@16+48")
    assert values(format, HEADER + pack("<q", -5) + content) == [-5, bytearray(content)]


@pytest.mark.parametrize("big_endian", [False, True])
def test_dynamic_arrays_lie_behind_the_record(big_endian: bool) -> None:
    order = ">" if big_endian else "<"
    format = event("__data_loc char[] name@8+4", "__rel_loc char[] other@12+4-", "u64 last@16+8")
    header = pack(f"{order}HBBi", 7, 0, 0, 42)
    body = pack(f"{order}IIQ", 6 << 16 | 24, 4 << 16 | 14, 2**63)
    record = header + body + b"hello\0abc\0"
    assert values(format, record, big_endian=big_endian) == ["hello", "abc", 2**63]


def test_dynamic_arrays_end_with_the_record() -> None:
    format = event("__data_loc char[] name@8+4")
    record = HEADER + pack("<I", 1000 << 16 | 12) + b"abc"
    assert values(format, record) == [bytearray(b"abc")]
    assert values(format, HEADER + pack("<I", 1000 << 16 | 5000)) == [bytearray(b"")]


def test_records_that_are_too_short_are_filled_with_zeros() -> None:
    format = event("u64 first@8+8", "u64 second@16+8", "char text[4]@24+4")
    assert values(format, HEADER + pack("<Q", 3) + b"\1") == [3, 1, ""]


def test_fields_may_lie_over_each_other() -> None:
    format = event("u64 all@8+8", "u32 low@8+4", "u32 high@12+4", "u8 first@8+1", "char a[2]@8+2")
    record = HEADER + pack("<Q", 2 << 32 | 0x41)
    assert values(format, record) == [2 << 32 | 0x41, 0x41, 2, 0x41, "A"]


def test_common_fields_for_generated_code() -> None:
    code = field_code(event("int x@8+4-"), common=("common_type", "common_pid"))
    record = pack("<HBBii", 7, 1, 2, -42, -1)
    assert dict(zip(code.names, code.layout.unpack(record), strict=True)) == {
        "common_type": 7,
        "common_pid": -42,
        "v0": 0xFFFFFFFF,
    }


def test_common_fields_are_there_whatever_the_format_says() -> None:
    # GIVEN a format with one common field below another, one under a field, and one missing
    text = COMMON.replace("common_flags;\toffset:2", "common_flags;\toffset:1")
    text = text.replace("common_preempt_count", "preempt")
    fields = "\tfield:u64 x;\toffset:2;\tsize:8;\tsigned:0;\n"
    format = parse_format("test", f'name: a\nID: 7\nformat:\n{text}\n{fields}\nprint fmt: ""\n')
    names = ("common_type", "common_flags", "common_preempt_count", "common_pid")
    code = field_code(format, common=names)
    # THEN each is unpacked, or 0
    for name in names:
        assert name in code.names or code.scope[name] == 0
    assert "common_pid" in code.names
    assert code.reader()(HEADER + bytes(8), 0, 16) == (42 << 16,)


def test_long_texts_are_not_kept() -> None:
    values = ArrayValues(text=True)
    assert values[b"short\0"] == "short"
    assert values[b"x" * 1000 + b"\0"] == "x" * 1000
    assert list(values) == [b"short\0"]
    for number in range(10_000):
        values[b"%d\0" % number]
    assert len(values) <= 4096


def test_formats_without_end_are_refused() -> None:
    with pytest.raises(FormatError, match="characters"):
        event(*(f"u8 f{number}@8+1" for number in range(100_000)))


def test_many_fields_over_each_other_are_read() -> None:
    format = event(*(f"u8 f{number}@8+1" for number in range(5000)))
    assert values(format, HEADER + b"\x07") == [7] * 5000


def test_sane_text_is_always_text() -> None:
    read = field_code(event("char comm[8]@8+8", "u8 address[4]@16+4"), sane=True).reader()
    assert read(HEADER + b"RM\0\0work" + bytes(4), 0, 20) == ("RM", bytearray(4))
    assert read(HEADER + b"\x1b[0m\0\0\0\0" + b"abc\0", 0, 20) == ("\x1b[0m", bytearray(b"abc\0"))
