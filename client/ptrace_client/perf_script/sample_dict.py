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
# What perf tells of counters where none were read.
_NO_COUNTS: Final = (0, 0, 0)
# The bits of a record's misc that are its CpuMode.
_CPU_MODE: Final = 7


class SampleDicts:
    """Makes the dictionaries of a recording's samples."""

    def __init__(self, recording: Recording, machine: Machine) -> None:
        self._recording = recording
        self._machine = machine

    def of_event(self, event: RecordedEvent) -> MakeDict:
        """Return what makes the dictionaries of an event's samples."""
        return self.event_dicts(event).make

    def event_dicts(self, event: RecordedEvent) -> EventDicts:
        """Return what is the same in the dictionaries of an event's samples."""
        return EventDicts(self._recording, self._machine, event)


class EventDicts:
    """Makes the dictionaries of one event; what does not change is looked up once."""

    def __init__(self, recording: Recording, machine: Machine, event: RecordedEvent) -> None:
        attr = event.attr
        self._recording = recording
        self._machine = machine
        self._name = event.name
        self._attr = attr
        with_times = attr.read_format & ~(ReadFormat.ID | ReadFormat.LOST)
        self._reads = bool(attr.sample_type & SampleType.READ or with_times)
        self.no_counts = _NO_COUNTS if attr.read_format & ReadFormat.LOST else _NO_COUNTS[:2]
        self._has_registers = bool(attr.sample_regs_intr or attr.sample_regs_user)
        # Whether a sample without registers and branches has nothing that others have not.
        self.is_plain = not self._reads and not self._has_registers
        self.locates_address = bool(attr.sample_type & SampleType.ADDR) and _address_has_symbol(
            attr
        )

    def make(self, sample: Sample, callchain: Callchain) -> dict[str, Any]:
        """Return the dictionary of a sample."""
        machine, tid, mode = self._machine, sample.tid, sample.misc & _CPU_MODE
        data_src = NO_DATA_SRC if sample.data_src is None else sample.data_src
        inner: dict[str, Any] = {
            "pid": sample.pid,
            "tid": tid,
            "cpu": sample.cpu,
            "ip": sample.ip,
            "time": sample.time,
            "period": sample.period,
            "phys_addr": sample.phys_addr,
            "addr": sample.addr,
        }
        if self._reads:
            _put_read(inner, self._attr.read_format, sample)
        else:
            inner["values"] = [self.no_counts]
        inner["weight"] = sample.weight
        inner["transaction"] = sample.transaction
        inner["datasrc"] = data_src
        inner["datasrc_decode"] = decode(data_src)
        inner["cpumode"] = mode
        if self.locates_address:
            inner["addr_correlates_sym"] = True
            place = machine.locate_data(tid, mode, sample.addr, sample.pid)
            put_place(inner, "addr_", place)
        found: dict[str, Any] = {
            "ev_name": self._name,
            "attr": self._attr.raw,
            "sample": inner,
            "raw_buf": sample.raw,
            "comm": machine.comms[tid],
        }
        put_place(found, "", machine.locate(tid, mode, sample.ip, sample.pid))
        found["callchain"] = callchain
        found["brstack"] = branch_stack(machine, sample) if sample.branches else []
        found["brstacksym"] = branch_symbols(machine, sample) if sample.branches else []
        found["iregs"], found["uregs"] = (
            self._registers(sample) if self._has_registers else ("", "")
        )
        return found

    def frame_keys(self, place: Location) -> dict[str, Any]:
        """Return the dictionary of a plain sample with an ip there; its own keys are yet to be set.

        They are sample, comm, callchain, brstack and brstacksym.
        """
        found: dict[str, Any] = {
            "ev_name": self._name,
            "attr": self._attr.raw,
            "sample": None,
            "raw_buf": b"",
            "comm": None,
        }
        put_place(found, "", place)
        return found | {
            "callchain": None,
            "brstack": None,
            "brstacksym": None,
            "iregs": "",
            "uregs": "",
        }

    def _registers(self, sample: Sample) -> tuple[str, str]:
        arch = self._recording.features.arch or platform.machine()
        intr = self._attr.sample_regs_intr
        return (
            registers_text(arch, intr, sample.intr_regs, intr),
            registers_text(arch, self._attr.sample_regs_user, sample.user_regs, intr),
        )


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


def put_place(keys: dict[str, Any], prefix: str, place: Location) -> None:
    """Tell where an address lies, as far as it is known."""
    map, symbol = place.map, place.symbol
    if map is not None:
        dso = map.dso
        keys[prefix + "dso"] = dso.name
        keys[prefix + "dso_bid"] = dso.build_id.hex()
        keys[prefix + "dso_map_start"] = map.start
        keys[prefix + "dso_map_end"] = map.end
    if symbol is not None:
        keys[prefix + "symbol"] = symbol.name
        keys[prefix + "symoff"] = place.symbol_offset
