"""The define_* calls by which perf tells scripts the names of flags and symbols.

perf makes them before the first event of a kind, by a walk over the arguments of its print format
(define_event_symbols in tools/perf/util/scripting-engines/trace-event-python.c). Its oddities are
kept, for the texts that scripts print hang on them: names that it cannot evaluate are 0, every
constant argument is a flag of value 0, and a field's name stays from event to event.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, TypeAlias

from ptrace_client.perf_script.print_args import parse
from ptrace_client.perf_script.print_nodes import Kind, Node, leading_number
from ptrace_formats import print_fmt
from ptrace_formats.event_format import EventFormat
from ptrace_proto import ptrace_pb2 as pb

# A function of the script, and what it is to be called with.
Call: TypeAlias = tuple[str, tuple[str | int, ...]]

_NAMES: Final = {
    **{
        f"{name}_SOFTIRQ": number
        for number, name in enumerate(
            [
                "HI",
                "TIMER",
                "NET_TX",
                "NET_RX",
                "BLOCK",
                "IRQ_POLL",
                "TASKLET",
                "SCHED",
                "HRTIMER",
                "RCU",
            ]
        )
    },
    "HRTIMER_NORESTART": 0,
    "HRTIMER_RESTART": 1,
}


def define_calls(format: EventFormat) -> list[Call]:
    """Return the calls that perf makes for an event if it is the first of all."""
    return DefineWalk().calls(format)


def handler_name(format: EventFormat) -> str:
    """Return the name that perf gives an event: "sched__sched_switch"."""
    return f"{format.system}__{format.name}"


class DefineWalk:
    """The walks over one recording's events, in the order in which they first occur."""

    def __init__(self) -> None:
        # perf dies where there is no name yet.
        self._field = ""

    def calls(self, format: EventFormat) -> list[Call]:
        """Return the calls for an event."""
        parsed = parse(format.print_fmt, {field.name for field in format.fields})
        made: list[Call] = []
        for argument in parsed.arguments:
            made += self._walk(handler_name(format), argument)
            if argument.kind == Kind.DYNAMIC:
                break
        return made

    def _walk(self, event: str, argument: Node) -> Iterator[Call]:
        # What is to be told, innermost first; True for nodes whose parts have been.
        waiting = [(argument, False)]
        while waiting:
            node, parts_done = waiting.pop()
            if node.parts and not parts_done:
                waiting.append((node, True))
                waiting += [(part, False) for part in reversed(node.parts)]
            elif node.kind == Kind.ATOM:
                yield "define_flag_value", (event, self._field, 0, node.text)
            elif node.kind == Kind.FIELD:
                self._field = node.text
            elif node.kind in (Kind.FLAGS, Kind.SYMBOLS):
                yield from _table_calls(event, self._field, node)


def _table_calls(event: str, field: str, node: Node) -> Iterator[Call]:
    kind = "flag" if node.kind == Kind.FLAGS else "symbolic"
    yield f"define_{kind}_field", (event, field, *([node.text] if kind == "flag" else ()))
    for value, name in node.table:
        yield f"define_{kind}_value", (event, field, _value(value), name)


def _value(text: str) -> int:
    if not text[:1].isdigit():
        return _NAMES.get(text, 0)
    value = min(leading_number(text), (1 << 64) - 1)
    # It goes through a C long.
    return value - (1 << 64) if value >> 63 else value


def sane_define_calls(
    format: EventFormat, constant: Callable[[str], int | None] | None = None
) -> list[Call]:
    """Return calls that tell the true values, of tables that name what is in a field.

    `constant` gives the value of a name that the kernel left in the format. What stays unknown
    is left out.
    """

    def known(name: str) -> int | None:
        value = constant(name) if constant is not None else None
        return _NAMES.get(name) if value is None else value

    names = {field.name for field in (*format.common, *format.fields)}
    parsed = print_fmt.parse(format.print_fmt, names, known)
    tables = {} if parsed is None else print_fmt.named_values(parsed)
    return table_calls(handler_name(format), tables)


def schema_define_calls(schema: pb.EventSchema) -> list[Call]:
    """Return calls that tell the true values, as far as a daemon knows them."""
    tables = {it.name: it.named_values for it in schema.all_fields if it.named_values.values}
    return table_calls(f"{schema.system}__{schema.name}", tables)


def table_calls(event: str, tables: dict[str, pb.NamedValues]) -> list[Call]:
    """Return the calls that tell the tables of fields."""
    made: list[Call] = []
    for field, table in tables.items():
        kind = "flag" if table.flags else "symbolic"
        delimiter = (table.delimiter,) if table.flags else ()
        made.append((f"define_{kind}_field", (event, field, *delimiter)))
        made += [
            (f"define_{kind}_value", (event, field, entry.value, entry.name))
            for entry in table.values
        ]
    return made
