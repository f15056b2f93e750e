"""A script in perf's dialect, as a run drives it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ptrace_client.decode import event_name
from ptrace_client.errors import ClientError
from ptrace_client.event_fields import is_sample
from ptrace_client.perf_live.handlers import PROCESS_EVENT, UNHANDLED, Handlers, Use, names_for
from ptrace_client.perf_live.target import RowTarget
from ptrace_client.perf_live.values import CPU
from ptrace_client.perf_script.context import ScriptContext
from ptrace_client.perf_script.options import DialectOptions
from ptrace_client.perf_script.script import PerfScript, die
from ptrace_client.script import listed
from ptrace_client.script_errors import ScriptErrors, end_at_closed_stdout
from ptrace_client.stacks import StackTable
from ptrace_client.targets import Callback, Ordering
from ptrace_proto import ptrace_pb2 as pb

# What perf has for ids that were not recorded, and for CPUs and tasks.
_NO_ID: Final = (1 << 64) - 1
_NO_NUMBER: Final = -1
# Members of samples that are captured only for scripts that name them.
_ON_REQUEST: Final = ("phys_addr",)
# Callbacks that only recordings have something for, and what there is instead.
_RECORDED_ONLY: Final = {
    "context_switch": "sched:sched_switch tells of switches, too",
    "auxtrace_error": "hardware traces come from recordings (-i)",
    "stat__interval": "counts come from recordings of perf stat (-i)",
}
# Set by scripts that want database export's tables.
_EXPORT_MODE: Final = "perf_db_export_mode"


@dataclass(frozen=True)
class RowBinding:
    """The handler of one event, and what it is called with."""

    handlers: Handlers
    schema: pb.EventSchema
    use: Use
    is_batch: Final = False

    @property
    def handler(self) -> Callable[..., Any]:
        """The function or other callable."""
        return self.use.handler

    @property
    def ordering(self) -> Ordering:
        """How its events may be put in order: those of which nothing is read are all alike."""
        return Ordering.ROWS if self.use.columns else Ordering.NONE

    def target(self, realtime_offset: int, stacks: StackTable, *, timed: bool) -> RowTarget:
        """Return where the events go, see targets.Binding."""
        return RowTarget(self.handlers, self.schema, self.use, stacks, timed=timed)


class LiveScript:
    """A targets.RunScript of perf's dialect.

    With `leaves_only` stacks are there for what samples tell of their ip, and for nothing else.
    """

    announced: Final = False
    # perf delivers all events in the order of time.
    orders_always: Final = True
    interval: Final = None
    print_stat: Final = None

    def __init__(
        self, script: PerfScript, options: DialectOptions, *, leaves_only: bool = False
    ) -> None:
        self.path = script.path
        self._script = script
        self._options = options
        self._leaves_only = leaves_only
        self._context = ScriptContext()

    def init(self) -> None:
        """Call trace_begin."""
        self._script.begin(self._context)

    @property
    def exit(self) -> Callback | None:
        """trace_end."""
        return self._script.handler("trace_end")

    @property
    def lost(self) -> Callback | None:
        """What is called with (start, end), ns, where events were lost: not of perf's dialect."""
        return self._script.handler("__lost__")

    @property
    def reconnected(self) -> Callback | None:
        """What is called with (start, end), ns, of what was missed: not of perf's dialect."""
        return self._script.handler("__reconnected__")

    def throttled(self, started: bool, time: int) -> None:
        """Call throttle or unthrottle: of all events and CPUs, as the daemon does it."""
        name = "throttle" if started else "unthrottle"
        self._script.call(name, time, _NO_ID, _NO_ID, _NO_NUMBER, _NO_NUMBER, _NO_NUMBER)

    def errors(self, strict: bool) -> ScriptErrors:
        """Return what becomes of exceptions: the first one ends the run."""
        return _FatalErrors()

    def projections(
        self, described: Sequence[pb.EventSchema], all_fields: bool
    ) -> list[pb.Projection]:
        """Return the fields to ask for; an event without a handler needs none.

        Raise ClientError where no event of `described` has a handler.
        """
        fields: dict[str, set[str]] = {event_name(schema): set() for schema in described}
        for binding in self.bind(described, all_fields):
            fields[event_name(binding.schema)].update(binding.use.columns - {CPU})
        return [pb.Projection(event=name, fields=sorted(own)) for name, own in fields.items()]

    def bind(self, schemas: Sequence[pb.EventSchema], all_fields: bool) -> list[RowBinding]:
        """Return a binding for every event that something is called for.

        Raise ClientError where there is none.
        """
        handlers = Handlers(
            self._script,
            self._context,
            strict=self._options.strict,
            sane=self._options.sane_values,
            all_fields=all_fields,
            mentioned=self._mentioned(),
            leaves_only=self._leaves_only,
        )
        bindings = []
        for schema in schemas:
            use = handlers.use(schema, handlers.values(schema))
            if use is not None:
                bindings.append(RowBinding(handlers, schema, use))
        if not bindings:
            raise ClientError(self._no_handler(schemas))
        return bindings

    def warnings(self, schemas: Sequence[pb.EventSchema]) -> list[str]:
        """Return sentences about what will not be called, and events that nothing is called for."""
        texts = [
            f"{name} is not called on a live host: {remedy}"
            for name, remedy in _RECORDED_ONLY.items()
            if self._script.handler(name) is not None
        ]
        if self._script.namespace.get(_EXPORT_MODE):
            texts.append("tables for databases are filled from recordings (-i), not on a live host")
        handlers = Handlers(self._script, self._context)
        idle = [schema for schema in schemas if handlers.chosen(schema)[1] is None]
        if idle:
            texts.append(f"no handler takes {listed(idle)}: these events are dropped")
        return texts

    def _mentioned(self) -> frozenset[str]:
        try:
            text = Path(self.path).read_text(errors="replace")
        except OSError:
            return frozenset()
        return frozenset(name for name in _ON_REQUEST if name in text)

    def _no_handler(self, schemas: Sequence[pb.EventSchema]) -> str:
        if self._script.namespace.get(_EXPORT_MODE):
            return (
                f"{self.path} exports to a database, which takes a recording: "
                "make one with `ptrace-client record`, and give it with -i"
            )
        sampled = all(map(is_sample, schemas))
        remedy = PROCESS_EVENT if sampled else f"{names_for(schemas[0])[0]} or {UNHANDLED}"
        return f"{self.path} has no handler for {listed(schemas)}: define {remedy}"


class _FatalErrors(ScriptErrors):
    """The first exception ends the run as perf ends, without trace_end."""

    def record(self, error: Exception) -> None:
        if isinstance(error, ClientError):
            raise error
        end_at_closed_stdout(error)
        die(error)
