"""Calls of process_event, generated for events whose samples have a simple layout.

Such samples are members of fixed size around at most a callchain: most that anyone records. What
is left for each is one unpacking and two dictionaries, which are as sample_dict.py makes them.
"""

from __future__ import annotations

import dataclasses
import functools
import operator
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
# Behind the callchain, 8 bytes each.
_LAST: Final = {
    SampleType.WEIGHT: "weight",
    SampleType.DATA_SRC: "data_src",
    SampleType.TRANSACTION: "transaction",
    SampleType.PHYS_ADDR: "phys_addr",
    SampleType.CGROUP: "cgroup",
    SampleType.DATA_PAGE_SIZE: "data_page_size",
    SampleType.CODE_PAGE_SIZE: "code_page_size",
}
_KNOWN: Final = functools.reduce(operator.or_, _LAST, _FIXED | SampleType.CALLCHAIN)
# Those of the first that scripts are shown.
_MEMBERS: Final = ("pid", "tid", "cpu", "ip", "time", "period", "addr")

_LAST_DEFAULTS: Final = {"weight": 0, "data_src": NO_DATA_SRC, "transaction": 0, "phys_addr": 0}

_SOURCE: Final = """\
def sink(data, start, end, misc, record_time):
    handler = namespace.get("process_event")
    if handler is not last and not callable(handler): return
    stop = start + {size}
    if start + {least} > end: return refuse(data, start, end, misc)
    {unpacking}
    {chain}
    {last}
    mode = misc & 7
    frame, chain = sampled(pid, tid, mode, ip, addresses)
    sample = {{
        "pid": pid, "tid": tid, "cpu": cpu, "ip": ip, "time": time, "period": period,
        "phys_addr": {phys_addr}, "addr": addr, "values": [no_counts],
        "weight": {weight}, "transaction": {transaction},
        "datasrc": {data_src}, "datasrc_decode": decode({data_src}), "cpumode": mode,
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
place, stop = stop, stop + 8 * count
    if stop + {last_size} > end: return refuse(data, start, end, misc)
    addresses = data[place:stop]"""
_ADDRESS: Final = """\
sample["addr_correlates_sym"] = True
    put_place(sample, "addr_", locate_data(tid, mode, addr, pid))"""


def simple_sink(
    script: PerfScript, machine: Machine, event: RecordedEvent, dicts: EventDicts, byte_order: str
) -> Sink | None:
    """Return what calls process_event with an event's samples; None where they are not simple."""
    kinds = SampleType(event.attr.sample_type)
    if kinds & ~_KNOWN or not dicts.is_plain:
        return None
    last = [name for bit, name in _LAST.items() if kinds & bit]
    last_layout = struct.Struct(f"{byte_order}{len(last)}Q")
    has_chain = bool(kinds & SampleType.CALLCHAIN)
    unpacking, layout = _unpacking(event, kinds, byte_order, has_chain)
    source = _SOURCE.format(
        size=layout.size,
        least=layout.size + last_layout.size,
        unpacking=unpacking,
        chain=_CHAIN.format(last_size=last_layout.size) if has_chain else 'addresses = b""',
        last=f"{', '.join(last)}, = unpack_last(data, stop)" if last else "",
        **{name: name if name in last else str(value) for name, value in _LAST_DEFAULTS.items()},
        address=_ADDRESS if dicts.locates_address else "",
    )
    # Where there is no handler, what no script has stands for the last one.
    scope: dict[str, Any] = {
        "namespace": script.namespace,
        "last": script.handler("process_event") or simple_sink,
        "unpack": layout.unpack_from,
        "refuse": event.layout.sample,
        "sampled": machine.sampled,
        "locate_data": machine.locate_data,
        "put_place": put_place,
        "comms": machine.comms,
        "event": event,
        "show": _shower(event, dicts),
        "no_counts": dicts.no_counts,
        "unpack_last": last_layout.unpack_from,
        "decode": decode,
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
