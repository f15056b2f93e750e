"""Records of sampling events, made byte by byte, and formats to read them by."""

from __future__ import annotations

import struct

from ptrace_formats.sample_format import sample_format
from ptraced.layout import NO_BLANKS, Blanks
from ptraced.sampling.layout import SampleFormat, lay_out_sample
from ptraced.sampling.shape import Shape
from ptraced.stacks import Stack

LOST, THROTTLE, SAMPLE = 2, 5, 9


class Numbers:
    """Numbers stacks, and keeps what it was given."""

    def __init__(self) -> None:
        self.stacks: list[tuple[int, bytes, bytes, int]] = []

    def intern(self, tgid: int, kernel: bytes, user: bytes, time: int) -> int:
        self.stacks.append((tgid, kernel, user, time))
        return len(self.stacks)

    def by_number(self, ids: set[int]) -> tuple[Stack, ...]:
        return tuple(Stack(number, b"") for number in sorted(ids) if number)


def u64(*values: int) -> bytes:
    return struct.pack(f"<{len(values)}Q", *values)


def record(body: bytes, kind: int = SAMPLE, misc: int = 2) -> bytes:
    return struct.pack("<IHH", kind, misc, 8 + len(body)) + body


def span(*records: bytes) -> memoryview:
    return memoryview(bytearray(b"".join(records)))


def sample_rows_format(
    shape: Shape,
    *wanted: str,
    stack: bool = False,
    constants: dict[str, int | bytes] | None = None,
    depth: tuple[int, int] = (127, 127),
    blanks: Blanks = NO_BLANKS,
) -> SampleFormat:
    return SampleFormat(
        shape,
        lay_out_sample(sample_format("event"), wanted, stack, blanks),
        constants or {},
        depth,
        lambda tid: b"task-%d" % tid,
    )
