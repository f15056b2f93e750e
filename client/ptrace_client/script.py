"""A script's callbacks: which are there, and which handler an event goes to."""

from __future__ import annotations

import types
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from ptrace_client.decode import event_name
from ptrace_client.errors import ClientError
from ptrace_client.event_fields import is_sample
from ptrace_client.event_target import EventTarget
from ptrace_client.module_loader import load_module
from ptrace_client.projection import Reads, batch_reads, columns, event_reads, projection
from ptrace_client.script_errors import ScriptErrors
from ptrace_client.stacks import StackTable
from ptrace_client.targets import Callback, Ordering
from ptrace_proto import ptrace_pb2 as pb

_BATCH_SUFFIX = "__batch"
# Names that are shown of a long list.
_SHOWN = 5


def load_script(module: str, args: Sequence[str]) -> Script:
    """Import a script by path or module name, with `args` behind its name in sys.argv.

    Raise ClientError where it is missing or cannot be imported.
    """
    return Script(load_module(module, args))


@dataclass(frozen=True)
class Binding:
    """The handler of one event, and what it reads."""

    schema: pb.EventSchema
    handler: Callback
    is_batch: bool
    reads: Reads
    ordering: Ordering = Ordering.EVENTS

    @property
    def columns(self) -> frozenset[str] | None:
        """The columns that it reads; None for all of them."""
        return columns(self.reads, self.schema)

    def target(self, realtime_offset: int, stacks: StackTable, *, timed: bool) -> EventTarget:
        """Return where the events go, see targets.Binding."""
        return EventTarget(
            self.schema, self.handler, self.columns, realtime_offset, stacks, timed=timed
        )


class Script:
    """The callbacks of a loaded module, looked up once. Any callable object counts."""

    orders_always: Final = False
    throttled: Final = None

    def __init__(self, module: types.ModuleType) -> None:
        # Path of the file, absolute; the module's name where it has none.
        self.path: str = getattr(module, "__file__", None) or module.__name__
        self._callables = {name: item for name, item in vars(module).items() if callable(item)}
        self._module_name = module.__name__
        self.init = self._callables.get("__init__")
        self.exit = self._callables.get("__exit__")
        self.interval = self._callables.get("__interval__")
        self.print_stat = self._callables.get("__print_stat__")
        self.lost = self._callables.get("__lost__")
        self.reconnected = self._callables.get("__reconnected__")
        self._reads: dict[str, Reads] = {}

    @property
    def announced(self) -> bool:
        """Whether the user is told that it was loaded: what has no file is none of theirs."""
        return bool(self.path)

    def errors(self, strict: bool) -> ScriptErrors:
        """Return what becomes of the exceptions of a run."""
        return ScriptErrors(strict)

    def projections(
        self, described: Sequence[pb.EventSchema], all_fields: bool
    ) -> list[pb.Projection]:
        """Return the fields to ask for; an event without a handler needs none.

        Raise ClientError where no event of `described` has a handler.
        """
        wanted = {
            event_name(binding.schema): projection(binding.reads, binding.schema)
            for binding in self.bind(described, all_fields)
        }
        names = dict.fromkeys(map(event_name, described))
        return [wanted.get(name) or pb.Projection(event=name) for name in names]

    def bind(self, schemas: Sequence[pb.EventSchema], all_fields: bool) -> list[Binding]:
        """Return a binding for every event that has a handler, its own or __sample__.

        Raise ClientError where none has.
        """
        bindings = []
        for schema in schemas:
            name = self._handler_name(schema)
            if name is None:
                continue
            reads = self._handler_reads(name)
            if all_fields:
                reads = replace(reads, everything=True)
            is_batch = name.endswith(_BATCH_SUFFIX)
            bindings.append(Binding(schema, self._callables[name], is_batch, reads))
        if not bindings:
            example = handler_names(schemas[0])[0] if schemas else "sched__sched_switch"
            raise ClientError(
                f"{self.path} has no handler for {listed(schemas)}: "
                f"define {example}(event) or __sample__(event)"
            )
        return bindings

    def warnings(self, schemas: Sequence[pb.EventSchema]) -> list[str]:
        """Return sentences about handlers that will not be called and events without any."""
        texts = []
        usable: set[str] = {"__sample__"}
        for schema in schemas:
            names = handler_names(schema)
            usable.update(names, (name + _BATCH_SUFFIX for name in names))
            chosen = self._handler_name(schema)
            if chosen is not None and chosen.endswith(_BATCH_SUFFIX):
                unused = [name for name in names if name in self._callables]
                texts += [f"{name} is not called: {chosen} takes its events" for name in unused]
        texts += [
            f"handler {name} is not called: its event is not selected (-e {listed(schemas)})"
            for name, item in self._callables.items()
            if name not in usable and self._looks_like_handler(name, item)
        ]
        idle = [schema for schema in schemas if self._handler_name(schema) is None]
        if idle:
            texts.append(f"no handler takes {listed(idle)}: these events are dropped")
        return list(dict.fromkeys(texts))

    def _handler_name(self, schema: pb.EventSchema) -> str | None:
        names = handler_names(schema)
        candidates = [*(name + _BATCH_SUFFIX for name in names), *names, "__sample__"]
        return next((name for name in candidates if name in self._callables), None)

    def _handler_reads(self, name: str) -> Reads:
        if name not in self._reads:
            analyze = batch_reads if name.endswith(_BATCH_SUFFIX) else event_reads
            self._reads[name] = analyze(self._callables[name])
        return self._reads[name]

    def _looks_like_handler(self, name: str, item: Callback) -> bool:
        system, separator, event = name.partition("__")
        own = getattr(item, "__module__", None) == self._module_name
        named = bool(system and separator and event) and not name.startswith("_")
        return named and own and not isinstance(item, type)


def handler_names(schema: pb.EventSchema) -> list[str]:
    """Return the names that a handler of the event may have: the first one found counts."""
    plain = [schema.alias or schema.name] if is_sample(schema) else []
    full = [] if plain else [f"{schema.system}__{schema.alias or schema.name}"]
    direct = [schema.alias] if schema.alias and full else []
    return [_identifier(name) for name in (*plain, *full, *direct)]


def _identifier(name: str) -> str:
    """Return `name` with "_" for what cannot stand in an identifier."""
    return "".join(it if f"_{it}".isidentifier() else "_" for it in name)


def listed(schemas: Sequence[pb.EventSchema]) -> str:
    """Return the names of events for a message, of many the first."""
    names = list(dict.fromkeys(map(event_name, schemas)))
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ",".join(names[:_SHOWN]) + more
