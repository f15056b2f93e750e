"""An event with fields of every kind, and records of it, for tests of filters."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from ptrace_formats.event_format import parse_format
from ptraced.filter import Filter, check_filter, parse_filter

FORMAT_TEXT = """\
name: event
ID: 77
format:
\tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;
\tfield:unsigned char common_flags;\toffset:2;\tsize:1;\tsigned:0;
\tfield:unsigned char common_preempt_count;\toffset:3;\tsize:1;\tsigned:0;
\tfield:int common_pid;\toffset:4;\tsize:4;\tsigned:1;

\tfield:int i;\toffset:8;\tsize:4;\tsigned:1;
\tfield:unsigned int u;\toffset:12;\tsize:4;\tsigned:0;
\tfield:long l;\toffset:16;\tsize:8;\tsigned:1;
\tfield:unsigned long w;\toffset:24;\tsize:8;\tsigned:0;
\tfield:u8 b;\toffset:32;\tsize:1;\tsigned:0;
\tfield:bool t;\toffset:33;\tsize:1;\tsigned:0;
\tfield:short h;\toffset:34;\tsize:2;\tsigned:1;
\tfield:int odd;\toffset:37;\tsize:4;\tsigned:1;
\tfield:char s[13];\toffset:41;\tsize:13;\tsigned:0;
\tfield:char name[16];\toffset:56;\tsize:16;\tsigned:0;
\tfield:__data_loc char[] d;\toffset:72;\tsize:4;\tsigned:0;
\tfield:__rel_loc char[] r;\toffset:76;\tsize:4;\tsigned:0;
\tfield:const char * p;\toffset:80;\tsize:8;\tsigned:0;
\tfield:u8 raw[8];\toffset:88;\tsize:8;\tsigned:0;

print fmt: ""
"""
FORMAT = parse_format("sys", FORMAT_TEXT)
_FIXED = struct.Struct("<8xiIqQB?hxi13s2x16sIIQ8x")


@dataclass(frozen=True)
class Record:
    """The values of a record; texts are the bytes of their fields as they lie there."""

    i: int = 0
    u: int = 0
    l: int = 0  # noqa: E741
    w: int = 0
    b: int = 0
    t: bool = False
    h: int = 0
    odd: int = 0
    s: bytes = b""
    name: bytes = b""
    d: bytes = b"\0"
    r: bytes = b"\0"

    def packed(self, pointer: int = 0) -> bytes:
        """The kernel's record; `pointer` is the value of the field p."""
        data_at = _FIXED.size
        rel_at = data_at + len(self.d)
        numbers = (self.i, self.u, self.l, self.w, self.b, self.t, self.h, self.odd)
        locators = len(self.d) << 16 | data_at, len(self.r) << 16 | rel_at - 80
        fixed = _FIXED.pack(*numbers, self.s, self.name, *locators, pointer)
        return fixed + self.d + self.r


def filter_of(text: str) -> Filter:
    """The checked filter of the event above."""
    return check_filter(parse_filter(text), FORMAT)
