"""What of a sample is unpacked at once: some of its header, and the fields of its raw record."""

from __future__ import annotations

import re
import struct
from collections.abc import Collection, Sequence

from ptrace_client.perf_data.model import SampleLayout
from ptrace_client.perf_script.fields import FieldCode

# Members of the header that handlers are given, each a u32.
_MEMBERS = ("cpu", "tid")


def with_header(
    sample: SampleLayout, place: int, fields: FieldCode
) -> tuple[struct.Struct, list[str]]:
    """Return the layout of a whole sample up to its fields, and the variables' names.

    `place` is where its raw record begins, in bytes from the start of the sample.
    """
    codes, names, position = [fields.layout.format[0]], [], 0
    for name, offset, _ in sorted(sample.fixed, key=lambda each: each[1]):
        if name in _MEMBERS:
            codes.append(f"{offset - position}xI")
            names.append(name)
            position = offset + 4
    codes.append(f"{place - position}x{fields.layout.format[1:]}")
    return struct.Struct("".join(codes)), [*names, *fields.names]


def trimmed(
    layout: struct.Struct, names: Sequence[str], used: Collection[str]
) -> tuple[struct.Struct, list[str]]:
    """Return the layout with blanks in place of what is not used, and the names that are left."""
    codes, left, waiting = [layout.format[0]], [], iter(names)
    for count, code in re.findall(r"(\d*)([A-Za-z])", layout.format[1:]):
        if code != "x":
            name = next(waiting)
            if name in used:
                left.append(name)
            else:
                count, code = str(struct.calcsize(f"={count}{code}")), "x"
        codes.append(count + code)
    return struct.Struct("".join(codes)), left
