"""str=: which fields of which events it takes, and where errors point."""

from __future__ import annotations

import pytest

from ptrace_formats.event_format import EventFormat, FormatField
from ptrace_proto import ptrace_pb2 as pb
from ptraced.errors import TraceError
from ptraced.syscall_texts import with_texts


def field(name: str, ctype: str, kind: pb.FieldKind, offset: int) -> FormatField:
    signed = kind == pb.FIELD_KIND_SIGNED
    return FormatField(name, ctype, kind, offset, 8, signed, 8, signed, False)


OPENAT = EventFormat(
    system="syscalls",
    name="sys_enter_openat",
    id=782,
    common=(),
    fields=(
        field("dfd", "int", pb.FIELD_KIND_SIGNED, 16),
        field("filename", "const char *", pb.FIELD_KIND_POINTER, 24),
    ),
    print_fmt='"dfd: 0x%08lx, filename: 0x%08lx", ((unsigned long)(REC->dfd)), '
    "((unsigned long)(REC->filename))",
)


def test_a_pointer_becomes_text() -> None:
    format = with_texts(OPENAT, [("filename", 100)], "")

    assert format.fields[0] == OPENAT.fields[0]
    assert format.fields[1] == FormatField(
        name="filename",
        ctype="const char *",
        kind=pb.FIELD_KIND_DYNAMIC_STRING,
        offset=24,
        size=8,
        signed=False,
        element_size=1,
        element_signed=False,
        relative=False,
        pointed=100,
    )
    assert format.print_fmt == (
        r'"dfd: 0x%08lx, filename: \"%s\"", ((unsigned long)(REC->dfd)), __get_str(filename)'
    )


def test_without_strings_a_format_is_as_it_was() -> None:
    assert with_texts(OPENAT, [], "") is OPENAT


@pytest.mark.parametrize(
    ("name", "block"),
    [
        (
            "filenam",
            """\
error: syscalls:sys_enter_openat has no field 'filenam' (did you mean 'filename'?)
  syscalls:sys_enter_openat//str=filenam:100/
                                 ^~~~~~~""",
        ),
        (
            "x",
            """\
error: syscalls:sys_enter_openat has no field 'x'
  syscalls:sys_enter_openat//alias=x/str = "x"/
                                            ^""",
        ),
        (
            "dfd",
            """\
error: 'dfd' is no pointer but int
  syscalls:sys_enter_openat//str=dfd/
                                 ^~~""",
        ),
    ],
)
def test_errors_point_at_the_name(name: str, block: str) -> None:
    selector = block.split("\n")[1][2:]
    with pytest.raises(TraceError) as caught:
        with_texts(OPENAT, [(name, 100)], selector)
    assert str(caught.value) == block
