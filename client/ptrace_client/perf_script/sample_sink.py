"""Calls of process_event, generated for events whose samples have a simple layout.

Such samples are members of fixed size and perhaps a callchain: most that anyone records. What
is left for each is one unpacking and two dictionaries, which are as sample_dict.py makes them.
"""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from ptrace_client.perf_data.attr import SampleType
from ptrace_client.perf_data.fixed_members import fixed_members
from ptrace_client.perf_data.model import RecordedEvent, Sample, Sink
from ptrace_client.perf_script.data_source import NO_DATA_SRC, decode
from ptrace_client.perf_script.sample_dict import EventDicts, put_place

if TYPE_CHECKING:
    from ptrace_client.perf_script.script import PerfScript
    from ptrace_client.perf_symbols.frames import Frame
    from ptrace_client.perf_symbols.model import Machine

# All that the samples may have: members of fixed size, and a callchain behind them.
_FIXED: Final = (
    SampleType.IDENTIFIER
    | SampleType.IP
    | SampleType.TID
    | SampleType.TIME
    | SampleType.ADDR
    | SampleType.ID
    | SampleType.STREAM_ID
    | SampleType.CPU
    | SampleType.PERIOD
)
# Those of them that scripts are shown.
_MEMBERS: Final = ("pid", "tid", "cpu", "ip", "time", "period", "addr")

_SOURCE: Final = """\
def sink(data, start, end, misc, record_time):
    handler = namespace.get("process_event")
    if handler is not last and not callable(handler): return
    if end - start < size: return refuse(data, start, end, misc)
    {unpacking}
    {chain}
    mode = misc & 7
    frame, chain = sampled(pid, tid, mode, ip, addresses)
    sample = {{
        "pid": pid, "tid": tid, "cpu": cpu, "ip": ip, "time": time, "period": period,
        "phys_addr": 0, "addr": addr, "values": [no_counts], "weight": 0, "transaction": 0,
        "datasrc": data_src, "datasrc_decode": data_src_text, "cpumode": mode,
    }}
    {address}
    shown = frame.shown
    if shown[0] is not event or shown[1].build_id is not shown[2]: shown = show(frame)
    found = shown[3].copy()
    found["sample"] = sample
    found["comm"] = comms[tid]
    found["callchain"] = chain
    found["brstack"] = []
    found["brstacksym"] = []
    handler(found)
"""
_CHAIN: Final = """\
place = start + size
    stop = place + 8 * count
    if stop > end: return refuse(data, start, end, misc)
    addresses = data[place:stop]"""
_ADDRESS: Final = """\
sample["addr_correlates_sym"] = True
    put_place(sample, "addr_", locate_data(tid, mode, addr, pid))"""


def simple_sink(
    script: PerfScript, machine: Machine, event: RecordedEvent, dicts: EventDicts, byte_order: str
) -> Sink | None:
    """Return what calls process_event with an event's samples; None where they are not simple."""
    kinds = SampleType(event.attr.sample_type)
    if kinds & ~(_FIXED | SampleType.CALLCHAIN) or not dicts.is_plain:
        return None
    has_chain = bool(kinds & SampleType.CALLCHAIN)
    unpacking, layout = _unpacking(event, kinds, byte_order, has_chain)
    source = _SOURCE.format(
        unpacking=unpacking,
        chain=_CHAIN if has_chain else 'addresses = b""',
        address=_ADDRESS if dicts.locates_address else "",
    )
    # Where there is no handler, what no script has stands for the last one.
    scope: dict[str, Any] = {
        "namespace": script.namespace,
        "last": script.handler("process_event") or simple_sink,
        "size": layout.size,
        "unpack": layout.unpack_from,
        "refuse": event.layout.sample,
        "sampled": machine.sampled,
        "locate_data": machine.locate_data,
        "put_place": put_place,
        "comms": machine.comms,
        "event": event,
        "show": _shower(event, dicts),
        "no_counts": dicts.no_counts,
        "data_src": NO_DATA_SRC,
        "data_src_text": decode(NO_DATA_SRC),
    }
    exec(compile(source, "<ptrace-client process_event>", "exec"), scope)
    sink: Sink = scope["sink"]
    return sink


def _unpacking(
    event: RecordedEvent, kinds: SampleType, byte_order: str, has_chain: bool
) -> tuple[str, struct.Struct]:
    """Return the line that sets the members, and the layout of all up to the chain's addresses."""
    fixed, end = fixed_members(kinds, byte_order)
    codes, names, place = [byte_order], [], 0
    for name, at, code in fixed:
        if name in _MEMBERS:
            codes.append(f"{at - place}x{code[1]}")
            names.append(name)
            place = at + struct.calcsize(code)
    codes.append(f"{end - place}x")
    if has_chain:
        codes.append("Q")
        names.append("count")
    defaults = {each.name: each.default for each in dataclasses.fields(Sample)}
    defaults["period"] = event.attr.sample_period
    lines = [f"{name} = {defaults[name]}" for name in _MEMBERS if name not in names]
    if names:
        lines.append(f"{', '.join(names)}, = unpack(data, start)")
    return "; ".join(lines), struct.Struct("".join(codes))


def _shower(event: RecordedEvent, dicts: EventDicts) -> Callable[[Frame], tuple[Any, ...]]:
    def show(frame: Frame) -> tuple[Any, ...]:
        """Keep, with the frame of a sample's ip, what its samples' dictionaries have in common."""
        map = frame.location.map
        told = dicts.frame_keys(frame.location)
        dso = frame if map is None else map.dso
        frame.shown = (event, dso, dso.build_id, told)
        return frame.shown

    return show
