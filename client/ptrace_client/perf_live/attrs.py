"""struct perf_event_attr of events that the daemon traces, as perf record would have set it.

What perf asks for by itself is in tools/perf/util/evsel.c, evsel__config.
"""

from __future__ import annotations

import struct
from typing import Final

from ptrace_client.event_fields import is_sample
from ptrace_client.perf_data.attr import ATTR_SIZE, EventAttr, EventKind, SampleType, parse_attr
from ptrace_proto import ptrace_pb2 as pb

_BASIC: Final = SampleType.IP | SampleType.TID | SampleType.TIME
_FLAG_FREQ: Final = 1 << 10
# disabled, inherit, sample_id_all, exclude_guest; use_clockid with CLOCK_MONOTONIC.
_FLAGS: Final = 1 << 0 | 1 << 1 | 1 << 18 | 1 << 20 | 1 << 25
_CLOCK_MONOTONIC: Final = 1
# Members of a sample that are asked for where they have a column.
_COLUMNS: Final = {
    "addr": SampleType.ADDR,
    "phys_addr": SampleType.PHYS_ADDR,
    "period": SampleType.PERIOD,
}


def event_attr(schema: pb.EventSchema) -> EventAttr:
    """Return the attr of an event."""
    asked = _BASIC | SampleType.CPU
    if schema.stack:
        asked |= SampleType.CALLCHAIN
    if not is_sample(schema):
        asked |= SampleType.PERIOD | SampleType.RAW
        return _attr(EventKind.TRACEPOINT, schema.common_type, 1, asked, _FLAGS)
    for field in schema.fields:
        asked |= _COLUMNS.get(field.name, 0)
    sample = schema.sample
    flags = _FLAGS | sample.flags | (_FLAG_FREQ if sample.frequency else 0)
    period = sample.frequency or sample.period
    return _attr(
        sample.type,
        sample.config,
        period,
        asked,
        flags,
        (sample.bp_type, sample.config1, sample.config2),
    )


def _attr(
    kind: int,
    config: int,
    period: int,
    sample_type: int,
    flags: int,
    breakpoint: tuple[int, int, int] = (0, 0, 0),
) -> EventAttr:
    """Return an attr; `breakpoint` is bp_type, config1 and config2."""
    members = (kind, ATTR_SIZE, config, period, sample_type, 0, flags, 0, *breakpoint)
    data = struct.pack("=IIQQQQQIIQQ", *members) + struct.pack("=QQIi", 0, 0, 0, _CLOCK_MONOTONIC)
    return parse_attr(data, "=")
