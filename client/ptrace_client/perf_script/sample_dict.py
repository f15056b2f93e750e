"""perf_sample_dict and param_dict: a sample as perf tells it.

Keys, their order and which of them depend on what is known: get_perf_sample_dict in
tools/perf/util/scripting-engines/trace-event-python.c of perf 6.1.
"""

from __future__ import annotations

import platform
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from ptrace_client.perf_data.attr import EventAttr, EventKind, ReadFormat, SampleType
from ptrace_client.perf_data.model import ReadValue, RecordedEvent, Recording, Sample
from ptrace_client.perf_script.branches import branch_stack, branch_symbols
from ptrace_client.perf_script.data_source import NO_DATA_SRC, decode
from ptrace_client.perf_script.registers import registers_text

if TYPE_CHECKING:
    from ptrace_client.perf_symbols.model import Location, Machine

Callchain: TypeAlias = list[dict[str, Any]]
# Makes the dictionary of a sample, with the list that is the sample's callchain.
MakeDict: TypeAlias = Callable[[Sample, Callchain], dict[str, Any]]

# Page faults, minor and major ones, of enum perf_sw_ids: their address is one of code or data.
_PAGE_FAULTS: Final = (2, 5, 6)
_BRANCH_INSTRUCTIONS: Final = 4


class SampleDicts:
    """Makes the dictionaries of a recording's samples."""

    def __init__(self, recording: Recording, machine: Machine) -> None:
        self._recording = recording
        self._machine = machine

    def of_event(self, event: RecordedEvent) -> MakeDict:
        """Return what makes the dictionaries of an event's samples."""
        attr = event.attr
        locates_address = bool(attr.sample_type & SampleType.ADDR) and _address_has_symbol(attr)

        def make(sample: Sample, callchain: Callchain) -> dict[str, Any]:
            found = self._make(event, sample, callchain)
            if locates_address:
                locate = self._machine.locate_data
                place = locate(sample.tid, sample.cpumode, sample.addr, sample.pid)
                found["sample"]["addr_correlates_sym"] = True
                _put_place(found["sample"], "addr_", place)
            return found

        return make

    def _make(self, event: RecordedEvent, sample: Sample, callchain: Callchain) -> dict[str, Any]:
        attr, machine = event.attr, self._machine
        data_src = NO_DATA_SRC if sample.data_src is None else sample.data_src
        inner: dict[str, Any] = {
            "pid": sample.pid,
            "tid": sample.tid,
            "cpu": sample.cpu,
            "ip": sample.ip,
            "time": sample.time,
            "period": sample.period,
            "phys_addr": sample.phys_addr,
            "addr": sample.addr,
        }
        _put_read(inner, attr.read_format, sample)
        inner |= {
            "weight": sample.weight,
            "transaction": sample.transaction,
            "datasrc": data_src,
            "datasrc_decode": decode(data_src),
            "cpumode": sample.cpumode,
        }
        found: dict[str, Any] = {
            "ev_name": event.name,
            "attr": attr.raw,
            "sample": inner,
            "raw_buf": sample.raw,
            "comm": machine.comms[sample.tid],
        }
        place = machine.locate(sample.tid, sample.cpumode, sample.ip, sample.pid)
        _put_place(found, "", place)
        arch = self._recording.features.arch or platform.machine()
        intr = attr.sample_regs_intr
        found |= {
            "callchain": callchain,
            "brstack": branch_stack(machine, sample),
            "brstacksym": branch_symbols(machine, sample),
            "iregs": registers_text(arch, intr, sample.intr_regs, intr),
            "uregs": registers_text(arch, attr.sample_regs_user, sample.user_regs, intr),
        }
        return found


def _address_has_symbol(attr: EventAttr) -> bool:
    if attr.type == EventKind.SOFTWARE:
        return attr.config in _PAGE_FAULTS
    # Intel's branch trace store.
    is_branches = attr.type == EventKind.HARDWARE and attr.config & 0xFF == _BRANCH_INSTRUCTIONS
    return is_branches and attr.sample_period == 1


def _put_read(inner: dict[str, Any], read_format: int, sample: Sample) -> None:
    if read_format & ReadFormat.TOTAL_TIME_ENABLED:
        inner["time_enabled"] = sample.time_enabled
    if read_format & ReadFormat.TOTAL_TIME_RUNNING:
        inner["time_running"] = sample.time_running
    counters = sample.values
    if not counters and not read_format & ReadFormat.GROUP:
        counters = (ReadValue(0, 0, 0),)
    # Without LOST perf leaves the third place unset, which no script can touch.
    length = 3 if read_format & ReadFormat.LOST else 2
    inner["values"] = [(each.id, each.value, each.lost or 0)[:length] for each in counters]


def _put_place(keys: dict[str, Any], prefix: str, place: Location) -> None:
    """Tell where an address lies, as far as it is known."""
    if place.map is not None:
        keys[f"{prefix}dso"] = place.map.dso.name
        keys[f"{prefix}dso_bid"] = place.map.dso.build_id.hex()
        keys[f"{prefix}dso_map_start"] = place.map.start
        keys[f"{prefix}dso_map_end"] = place.map.end
    if place.symbol is not None:
        keys[f"{prefix}symbol"] = place.symbol.name
        keys[f"{prefix}symoff"] = place.symbol_offset
