"""Which of a script's functions the events of a stream go to, and with what."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from ptrace_client.event_fields import is_sample
from ptrace_client.perf_live.reads import Parameters, parameters
from ptrace_client.perf_live.values import NOTHING, RowValues, Value, columns_of, event_names
from ptrace_client.perf_script.binding import COMMON, Constant, bind, sample_dict_wanted
from ptrace_client.perf_script.context import ScriptContext
from ptrace_client.perf_script.defines import DefineWalk, schema_define_calls
from ptrace_client.perf_script.script import PerfScript
from ptrace_client.script import handler_names
from ptrace_formats.event_format import EventFormat
from ptrace_proto import ptrace_pb2 as pb

PROCESS_EVENT: Final = "process_event"
UNHANDLED: Final = "trace_unhandled"


@dataclass(frozen=True)
class Use:
    """A handler by its name, and its arguments; `known` is what it does with its parameters."""

    name: str
    handler: Callable[..., Any]
    arguments: Sequence[Value]
    values: RowValues
    known: Parameters | None
    warning: str | None = None

    @property
    def columns(self) -> frozenset[str]:
        """The columns that the arguments take, values.CPU among them."""
        chain = self.values.callchain.columns if any(it.chained for it in self.arguments) else ()
        return columns_of(self.arguments).union(chain)


class Handlers:
    """The handlers of one script in one run.

    `strict` binds them by perf's own rule, `sane` gives fields what they are declared as, and
    `all_fields` does without what their code tells. `mentioned` and `leaves_only` are those of
    RowValues.
    """

    def __init__(
        self,
        script: PerfScript,
        context: ScriptContext,
        *,
        strict: bool = False,
        sane: bool = False,
        all_fields: bool = False,
        mentioned: frozenset[str] = frozenset(),
        leaves_only: bool = False,
    ) -> None:
        self.script = script
        self._context = context
        self._strict = strict
        self._sane = sane
        self._all_fields = all_fields
        self._mentioned = mentioned
        self._leaves_only = leaves_only
        self._walk = DefineWalk()

    def values(self, schema: pb.EventSchema) -> RowValues:
        """Return new values for the rows of an event."""
        return RowValues(
            schema,
            event_title(schema),
            self._context,
            sane=self._sane,
            mentioned=self._mentioned,
            leaves_only=self._leaves_only,
        )

    def chosen(self, schema: pb.EventSchema) -> tuple[str, Callable[..., Any] | None]:
        """Return the name of the handler that an event has now, and the handler; None for none."""
        return self.chosen_of(candidates(schema))

    def chosen_of(self, names: Sequence[str]) -> tuple[str, Callable[..., Any] | None]:
        """Return the same of candidates()."""
        for name in names:
            handler = self.script.handler(name)
            if handler is not None:
                return name, handler
        return names[0], None

    def use(self, schema: pb.EventSchema, values: RowValues) -> Use | None:
        """Return what is called for an event; None for nothing."""
        name, handler = self.chosen(schema)
        if handler is None:
            return None
        warning = None
        if name == PROCESS_EVENT:
            arguments = [values.sample_dict()]
        elif name == UNHANDLED:
            arguments = [values.common(COMMON[0]), values.common(COMMON[1]), values.unhandled()]
            if sample_dict_wanted(handler, len(arguments)):
                arguments.append(values.sample_dict())
        else:
            binding = bind(handler, event_title(schema), values.names, strict=self._strict)
            arguments = [_value(values, argument) for argument in binding.arguments]
            warning = binding.warning
        known = None if self._all_fields else parameters(handler)
        if known is not None:
            arguments = [
                value if known.reads(position) else NOTHING
                for position, value in enumerate(arguments)
            ]
        return Use(name, handler, arguments, values, known, warning)

    def define(self, format: EventFormat, schema: pb.EventSchema) -> None:
        """Tell the script of an event's flags and symbols, as perf does before its first one."""
        calls = schema_define_calls(schema) if self._sane else self._walk.calls(format)
        for name, arguments in calls:
            self.script.call(name, *arguments)


def _value(values: RowValues, argument: str | int | Constant) -> Value:
    if isinstance(argument, int):
        return values.field(argument)
    if isinstance(argument, Constant):
        return values.constant(argument.value)
    return values.common(argument)


def event_title(schema: pb.EventSchema) -> str:
    """Return what scripts get as event_name: "sched__sched_switch", or what an alias says."""
    return "__".join(event_names(schema))


def candidates(schema: pb.EventSchema) -> list[str]:
    """Return the names of all functions that may be an event's handler, the first comes first."""
    return [PROCESS_EVENT] if is_sample(schema) else [*names_for(schema), UNHANDLED]


def names_for(schema: pb.EventSchema) -> list[str]:
    """Return the names that a handler may have: perf's, and those of our own dialect."""
    plain = f"{schema.system}__{schema.alias or schema.name}"
    return list(dict.fromkeys((plain, *handler_names(schema))))
