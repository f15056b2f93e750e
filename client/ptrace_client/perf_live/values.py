"""What perf passes to handlers, as expressions over the rows of a stream."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from typing import Final

from ptrace_client.decode import DYNAMIC_KINDS, TextCache
from ptrace_client.event_fields import chain_key, is_sample
from ptrace_client.perf_live.frames import callchain
from ptrace_client.perf_live.samples import LiveSamples
from ptrace_client.perf_script.binding import COMMON, SAMPLE_DICT
from ptrace_client.perf_script.fields import ArrayValues, PerfField, SaneValues, perf_field
from ptrace_formats.event_format import EventFormat, FormatField
from ptrace_formats.field_info import format_of
from ptrace_proto import ptrace_pb2 as pb

# Stands for the CPU among columns: it is the batch's.
CPU: Final = "_cpu"
# Variables besides those of columns, see variable().
ROW, CHAIN, CALLCHAIN = "row", "chain", "callchain"

_IDLE: Final = re.compile(r"swapper/\d+")


class Comms(TextCache):
    """Names of tasks: perf calls the idle ones of all CPUs alike."""

    def __missing__(self, data: bytes) -> str:
        name = super().__missing__(data)
        if _IDLE.fullmatch(name):
            name = self[data] = "swapper"
        return name


def variable(column: str) -> str:
    """Return the name that a column's value has in expressions."""
    return "cpu" if column == CPU else f"column_{column}"


@dataclass(frozen=True)
class Value:
    """An expression, and the columns and other variables that it takes.

    `chained` says that it takes CALLCHAIN, which `RowValues.callchain` is assigned to.
    """

    code: str
    columns: frozenset[str] = frozenset()
    chained: bool = False


NOTHING: Final = Value("None")


def columns_of(values: Iterable[Value]) -> frozenset[str]:
    """Return the columns that any of the values takes."""
    return frozenset[str]().union(*(value.columns for value in values))


class RowValues:
    """The arguments of handlers as values of the rows of an event.

    `scope` has what the expressions name besides variables. Arrays have a state, as perf's
    have: there is to be one RowValues for an event of a run. `sane` gives fields their sign,
    and strings always as such. Members of samples that are captured on request only are there
    where they are `mentioned`. With `leaves_only` samples tell where their ip lies, and there
    are no callchains.
    """

    def __init__(
        self,
        schema: pb.EventSchema,
        name: str,
        context: object,
        *,
        sane: bool = False,
        mentioned: Collection[str] = (),
        leaves_only: bool = False,
    ) -> None:
        self.format = event_format(schema)
        self.names = [field.name for field in self.format.fields]
        # Struct codes by column, where they are not the column's own.
        self.codes: dict[str, str] = {}
        stack = schema.stack and (is_sample(schema) or not leaves_only)
        self._chain = frozenset((chain_key(schema),)) if stack else frozenset[str]()
        self.scope: dict[str, object] = {
            "event_name": name,
            "context": context,
            "texts": TextCache(),
            "comms": Comms(),
            "entries": callchain,
        }
        self._samples = LiveSamples(schema, mentioned)
        # What CALLCHAIN is.
        shown = stack and not leaves_only
        self.callchain = Value(f"entries({CHAIN})" if shown else "[]", self._chain)
        self._fields = [
            self._field(number, declared, sane)
            for number, declared in enumerate(self.format.fields)
        ]
        time = frozenset(("_time",))
        self._common: dict[str, Value] = {
            "event_name": Value("event_name"),
            "context": Value("context"),
            "common_cpu": Value(variable(CPU), frozenset((CPU,))),
            "common_secs": Value(f"{variable('_time')} // 1000000000", time),
            "common_nsecs": Value(f"{variable('_time')} % 1000000000", time),
            "common_pid": Value(variable("_tid"), frozenset(("_tid",))),
            "common_comm": Value(f"comms[{variable('_comm')}]", frozenset(("_comm",))),
            "common_callchain": Value(CALLCHAIN, self._chain, True),
        }

    def common(self, name: str) -> Value:
        """Return one of binding.COMMON, or the sample dictionary."""
        return self.sample_dict() if name == SAMPLE_DICT else self._common[name]

    def field(self, number: int) -> Value:
        """Return a field of the event by its place."""
        return self._fields[number]

    def all_fields(self) -> list[Value]:
        """Return all fields, in the kernel's order."""
        return list(self._fields)

    def constant(self, value: object) -> Value:
        """Return an expression for an object."""
        name = f"constant_{len(self.scope)}"
        self.scope[name] = value
        return Value(name)

    def unhandled(self) -> Value:
        """Return the dictionary that trace_unhandled takes."""
        keys = ("common_cpu", "common_s", "common_ns", *COMMON[5:])
        values = [*(self._common[name] for name in COMMON[2:]), *self._fields]
        items = [
            f"{name!r}: {value.code}"
            for name, value in zip((*keys, *self.names), values, strict=True)
        ]
        return Value(f"{{{', '.join(items)}}}", columns_of(values), True)

    def sample_dict(self) -> Value:
        """Return perf_sample_dict; of events that sample, what process_event takes."""
        samples = self._samples
        self.scope["sample_dict"] = samples.make
        arguments = [f"{name}={self._text(column)}" for name, column in samples.arguments.items()]
        columns = frozenset(samples.arguments.values()) | self._chain
        chain = CHAIN if self._chain else "()"
        return Value(f"sample_dict({CALLCHAIN}, {chain}, {', '.join(arguments)})", columns, True)

    def _text(self, column: str) -> str:
        name = variable(column)
        return f"comms[{name}]" if column == "_comm" else name

    def _field(self, number: int, declared: FormatField, sane: bool) -> Value:
        column = frozenset((declared.name,))
        name = variable(declared.name)
        field = perf_field(declared, sane=sane)
        if declared.kind in DYNAMIC_KINDS:
            return Value(self._dynamic(number, field, name, sane), column)
        if field.array:
            return Value(f"{self._array(number, field, sane)}[{name}]", column)
        if not field.code:
            # A structure, of which perf makes nothing.
            return Value("0")
        self.codes[declared.name] = field.code
        return Value(name, column)

    def _dynamic(self, number: int, field: PerfField, name: str, sane: bool) -> str:
        start = f"({name} & 4294967295)"
        data = f"{ROW}[{start} : {start} + ({name} >> 32)]"
        if not field.dynamic:
            # Text that a pointer leads to, which the user asked for.
            return f"texts[{data}]"
        if field.array:
            return f"{self._array(number, field, sane)}[{data}]"
        # perf passes the locator itself: the length, and a place in a record that we do not have.
        return f"({name} >> 32 << 16)"

    def _array(self, number: int, field: PerfField, sane: bool) -> str:
        name = f"array_{number}"
        self.scope[name] = (SaneValues if sane else ArrayValues)(field.text)
        return name


def event_names(schema: pb.EventSchema) -> tuple[str, str]:
    """Return an event's system and name for scripts; an alias may give both, "system__name"."""
    system, separator, name = schema.alias.partition("__")
    if separator and system and name:
        return system, name
    return schema.system, schema.alias or schema.name


def event_format(schema: pb.EventSchema) -> EventFormat:
    """Return the format of an event as its schema tells it: without places in the record."""
    system, name = event_names(schema)
    return replace(format_of(schema), system=system, name=name)
