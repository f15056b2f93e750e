"""The dictionaries of samples, out of the rows of a stream."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from typing import Any, Final, NamedTuple, cast

from ptrace_client.event_fields import has_own_cpu, is_sample
from ptrace_client.perf_data.attr import EventAttr
from ptrace_client.perf_data.model import (
    CpuMode,
    Features,
    RecordedEvent,
    Recording,
    Sample,
    SampleLayout,
)
from ptrace_client.perf_live.attrs import event_attr
from ptrace_client.perf_script.sample_dict import SampleDicts
from ptrace_client.perf_symbols.model import Dso, Location, Machine, Map, Symbol
from ptrace_client.stacks import UNKNOWN, Chain
from ptrace_proto import ptrace_pb2 as pb

# Members of a sample that it takes from columns of the same name.
_MEMBERS: Final = ("ip", "addr", "id", "period", "phys_addr")
# Kernels have their addresses in the upper half.
_KERNEL_BIT: Final = 1 << 63
_GLOBAL: Final = 1


class LiveSamples:
    """Makes param_dict and perf_sample_dict of the events of a schema.

    `arguments` names the columns that make() takes: by the name of its argument. Members that
    are captured on request only are among them where they are `mentioned`.
    """

    def __init__(self, schema: pb.EventSchema, mentioned: Collection[str] = ()) -> None:
        self.arguments: dict[str, str] = {
            "cpu": "cpu" if has_own_cpu(schema) else "_cpu",
            "time": "_time",
            "pid": "_pid",
            "tid": "_tid",
            "comm": "_comm",
        }
        if is_sample(schema):
            there = {field.name for field in schema.fields}
            there.update(it.name for it in schema.all_fields if it.name in mentioned)
            self.arguments.update({name: name for name in _MEMBERS if name in there})
        self._machine = _LeafMachine()
        self._event = RecordedEvent(0, _name(schema), event_attr(schema), (), _NO_LAYOUT)
        host = cast(Recording, _Host(Features()))
        self._make = SampleDicts(host, cast(Machine, self._machine)).of_event(self._event)

    @property
    def attr(self) -> EventAttr:
        """What perf would have opened the event with."""
        return self._event.attr

    def make(
        self, callchain: list[dict[str, Any]], chain: Chain, *, comm: str, **members: int
    ) -> dict[str, Any]:
        """Return the dictionary of a sample with these members, whose stack is `chain`.

        `callchain` is the list that it gets.
        """
        leaf = chain[0] if chain else None
        # The kernel notes where a tracepoint was hit as it notes the stack's leaf.
        ip = members.setdefault("ip", leaf["addr"] if leaf else 0)
        members.setdefault("period", self._event.attr.sample_period)
        mode = CpuMode.KERNEL if ip & _KERNEL_BIT or not ip else CpuMode.USER
        sample = Sample(self._event, mode, **cast(dict[str, Any], members))
        machine = self._machine
        machine.comms.clear()
        machine.comms[sample.tid] = comm if sample.tid else "swapper"
        machine.leaf = (
            _location(leaf) if leaf and leaf["addr"] == ip else Location(ip, None, None, 0)
        )
        return self._make(sample, callchain)


class _Host(NamedTuple):
    """What stands for a recording of the host."""

    features: Features


class _LeafMachine:
    """A symbols.Machine that knows of one sample: its comm, and where its ip lies."""

    def __init__(self) -> None:
        self.comms: defaultdict[int, str] = defaultdict(str)
        self.leaf = Location(0, None, None, 0)

    def locate(self, tid: int, cpumode: int, address: int, pid: int | None = None) -> Location:
        """Return where the sample's ip lies, and nothing of other addresses."""
        return self.leaf if address == self.leaf.address else Location(address, None, None, 0)

    locate_data = locate


def _location(leaf: dict[str, Any]) -> Location:
    address, offset = leaf["addr"], leaf["offset"]
    map = symbol = None
    if leaf["dso"] != UNKNOWN:
        name = leaf["dso"]
        dso = Dso(name, name, name.rpartition("/")[2], b"", bool(leaf["kernel"]))
        # What the daemon tells of a mapping is what lies in it.
        map = Map(address - offset, address + 1, 0, dso)
    if leaf["symbol"] != UNKNOWN:
        symbol = Symbol(address - offset, address + 1, _GLOBAL, leaf["symbol"])
    return Location(address, map, symbol, offset)


def _name(schema: pb.EventSchema) -> str:
    """Return the name by which perf calls an event: that of the counter of sampled ones."""
    if not is_sample(schema):
        return f"{schema.system}:{schema.alias or schema.name}"
    return schema.alias or schema.sample.counter or schema.name


# Rows are no records.
_NO_LAYOUT: Final = cast(SampleLayout, None)
