"""The members of a sample that have the same size in all samples of an event: the first ones."""

from __future__ import annotations

import dataclasses
import functools
import struct
from collections.abc import Callable
from typing import Final

from ptrace_client.perf_data.attr import SampleType
from ptrace_client.perf_data.model import Buffer, Sample

# Bytes of a record's header.
HEADER: Final = 8
# Members of fixed size in their order: (bit, names as in Sample with their struct codes).
_FIXED: Final = (
    (SampleType.IDENTIFIER, (("id", "Q"),)),
    (SampleType.IP, (("ip", "Q"),)),
    (SampleType.TID, (("pid", "I"), ("tid", "I"))),
    (SampleType.TIME, (("time", "Q"),)),
    (SampleType.ADDR, (("addr", "Q"),)),
    (SampleType.ID, (("id", "Q"),)),
    (SampleType.STREAM_ID, (("stream_id", "Q"),)),
    (SampleType.CPU, (("cpu", "Q"),)),
    (SampleType.PERIOD, (("period", "Q"),)),
)


@functools.lru_cache(maxsize=64)
def fixed_members(kinds: SampleType, order: str) -> tuple[tuple[tuple[str, int, str], ...], int]:
    """Return the members of SampleLayout.fixed and where what follows them starts."""
    places: dict[str, tuple[str, int, str]] = {}
    place = HEADER
    for bit, members in _FIXED:
        if kinds & bit:
            at = place
            for name, code in members:
                # The cpu is a u32 with another behind it, that is reserved.
                places[name] = (name, at, order + ("I" if name == "cpu" else code))
                at += 4 if code == "I" else 8
            place += 8
    return tuple(sorted(places.values(), key=lambda member: member[1])), place


@functools.lru_cache(maxsize=64)
def fixed_unpacker(
    fixed: tuple[tuple[str, int, str], ...],
) -> Callable[[Buffer, int], tuple[int, ...]]:
    """Return what unpacks the fixed members of a record, given the buffer and its start."""
    pattern, place = fixed[0][2][0] if fixed else "<", 0
    for _, at, code in fixed:
        pattern += f"{at - place}x" if at > place else ""
        pattern += code[1]
        place = at + struct.calcsize(code)
    return struct.Struct(pattern).unpack_from


@functools.lru_cache(maxsize=64)
def fixed_maker(names: tuple[str, ...], period: int) -> Callable[..., Sample]:
    """Return what makes a Sample of its event, misc and the fixed members in their order.

    It is generated, for it runs once for each sample and says one thing only: which of its
    arguments is which.
    """
    members = ("ip", "pid", "tid", "time", "addr", "id", "stream_id", "cpu", "period")
    defaults = {each.name: each.default for each in dataclasses.fields(Sample)} | {"period": period}
    values = ", ".join(name if name in names else str(defaults[name]) for name in members)
    source = (
        f"lambda event, misc{''.join(f', {name}' for name in names)}: Sample(event, misc, {values})"
    )
    made: Callable[..., Sample] = eval(source, {"Sample": Sample})
    return made
