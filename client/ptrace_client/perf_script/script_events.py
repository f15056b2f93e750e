"""The events that a script wants: those of its *-record file, or else of its handlers."""

from __future__ import annotations

import ast
import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from ptrace_client.errors import ClientError
from ptrace_client.perf_script.catalogue import record_file
from ptrace_client.perf_script.record_file import RecordCommand, read_record_file
from ptrace_client.printing import terminal_safe

# perf's default event, and what it takes where the CPU's counter for it cannot be had.
_CYCLES, _CLOCK = "cycles", "cpu-clock"
# Names with "__" that are no events: what `perf stat` counts, and Python's own.
_NO_SYSTEMS: Final = ("", "stat")
# What raw_syscalls:* was called before Linux 2.6.33; scripts still have handlers for both.
_FORMER: Final = {
    "syscalls:sys_enter": "raw_syscalls:sys_enter",
    "syscalls:sys_exit": "raw_syscalls:sys_exit",
}
# What stands before the colon of a selector that no list of events has.
_NO_TRACEPOINTS: Final = ("kprobe", "kretprobe", "uprobe", "uretprobe", "usdt", "mem")
_SAMPLED: Final = re.compile(r"[\w-]+(:[ukhIGHpP]+)?")
_DEFINITION: Final = re.compile(rb"^def[ \t]+([A-Za-z_]\w*)", re.MULTILINE)
_SHOWN: Final = 8


@dataclass(frozen=True)
class EventChoice:
    """Selectors for a script, and where they come from; `is_guess` where from its handlers alone.

    `call_graph` is -g. `missing` are events that the host does not have.
    """

    selectors: tuple[str, ...]
    origin: str
    call_graph: bool = False
    is_guess: bool = False
    missing: tuple[str, ...] = ()

    def messages(self) -> list[str]:
        """Return the lines that tell the user what was chosen, and what was left out."""
        shown = ",".join(self.selectors[:_SHOWN])
        more = len(self.selectors) - _SHOWN
        graph = " with -g" if self.call_graph else ""
        lines = [f"events of {self.origin}{graph}: {shown}{f' and {more} more' * (more > 0)}"]
        if self.missing:
            lines.append(f"left out, as this host does not have them: {','.join(self.missing)}")
        return [*map(terminal_safe, lines)]


def events_for(
    path: Path, names: Iterable[str] | None = None, known: Collection[str] | None = None
) -> EventChoice:
    """Return what to trace for the script at `path`.

    `names` are those of its handlers where it is loaded; else its text is searched for them.
    `known` are the events of the host, "sys:name" and names of sampled ones; None is all. Raise
    ClientError where nothing tells the events, or the host has none of them.
    """
    file = record_file(path)
    if file is not None:
        choice = _recorded(file, known)
        if choice is not None:
            return choice
    return _handled(path, handler_names(path) if names is None else names, known)


def handler_names(path: Path) -> list[str]:
    """Return the names that a script's text defines for its __main__, in order.

    Raise ClientError where it cannot be read; of one that does not parse, as those of Python 2,
    they are what stands behind `def`.
    """
    try:
        text = path.read_bytes()
    except OSError as error:
        name = terminal_safe(str(path))
        raise ClientError(f"cannot read {name}: {error.strerror}") from None
    try:
        names = [*_defined(ast.parse(text).body)]
    except (SyntaxError, ValueError):
        names = [name.decode() for name in _DEFINITION.findall(text)]
    return list(dict.fromkeys(names))


def _reads_callchains(path: Path) -> bool:
    """Whether a script takes the call chain out of what process_event() gets."""
    return re.search(rb"""['"]callchain['"]""", path.read_bytes()) is not None


def _recorded(file: Path, known: Collection[str] | None) -> EventChoice | None:
    """Return what a record file says, None where it does not say it in so many words."""
    commands = [command for command in read_record_file(file) if not command.is_computed]
    choices = [_choice(command, str(file), known) for command in commands]
    if not choices:
        return None
    # Where no alternative has all its events, the one that has most of them.
    best = min(choices, key=lambda choice: (len(choice.missing), -len(choice.selectors)))
    return _checked(best)


def _choice(command: RecordCommand, origin: str, known: Collection[str] | None) -> EventChoice:
    events = command.events or [_default_event(known)]
    found = [_rated(event, command) for event in events if _is_known(event, known)]
    missing = [event for event in events if not _is_known(event, known)]
    return EventChoice(tuple(found), origin, command.call_graph, missing=tuple(missing))


def _rated(event: str, command: RecordCommand) -> str:
    """Return the selector of an event with the rate that is for all sampled ones."""
    if not _SAMPLED.fullmatch(event):
        return event
    if command.period is not None:
        return f"{event}/-c {command.period}/"
    return f"{event}/-F {command.frequency}/" if command.frequency is not None else event


def _handled(path: Path, names: Iterable[str], known: Collection[str] | None) -> EventChoice:
    names = list(dict.fromkeys(names))
    events = [event for name in names if (event := _event(name, known))]
    events = [event for event in events if _FORMER.get(event) not in events]
    if "process_event" in names:
        events.append(_default_event(known))
    if not events:
        script = terminal_safe(str(path))
        if any(name.startswith("stat__") for name in names):
            raise ClientError(
                f"{script} takes counts, which are in recordings only: "
                "perf stat record, then run -i FILE"
            )
        raise ClientError(f"{script} {_why_none(path)}: say with -e what to trace")
    choice = EventChoice(
        tuple(event for event in events if _is_known(event, known)),
        f"the handlers of {path.name}",
        call_graph="process_event" in names and _reads_callchains(path),
        is_guess=True,
        missing=tuple(event for event in events if not _is_known(event, known)),
    )
    return _checked(choice)


def _why_none(path: Path) -> str:
    try:
        ast.parse(path.read_bytes(), path.name)
    except (SyntaxError, ValueError) as error:
        return f"does not parse ({terminal_safe(str(error))}), nor has it handlers for events"
    return "has no handler that is called like an event"


def _checked(choice: EventChoice) -> EventChoice:
    """Raise ClientError where nothing is left."""
    if not choice.selectors:
        names = ",".join(choice.missing)
        text = f"this host has none of the events of {choice.origin}: {names}; say others with -e"
        raise ClientError(terminal_safe(text))
    return replace(choice, selectors=tuple(dict.fromkeys(choice.selectors)))


def _event(name: str, known: Collection[str] | None) -> str | None:
    """Return the tracepoint that a handler of this name is for, None where it is for none."""
    splits = []
    # PerfEvent scripts have handlers of many events at once.
    name = name.removesuffix("__batch")
    place = name.find("__")
    while place != -1:
        splits.append((name[:place], name[place + 2 :]))
        place = name.find("__", place + 1)
    events = [f"{system}:{event}" for system, event in splits if system and event]
    if not events or name.partition("__")[0] in _NO_SYSTEMS:
        return None
    return next((event for event in events if known and event in known), events[0])


def _default_event(known: Collection[str] | None) -> str:
    return _CYCLES if known is not None and _CYCLES in known else _CLOCK


def _is_known(event: str, known: Collection[str] | None) -> bool:
    """Whether the host has an event. Patterns, probes and all with terms are left to the daemon."""
    name = event.partition("/")[0]
    if known is None or name in known or set(name) & set("*?[") or "/" in event:
        return True
    system, colon, _ = name.partition(":")
    if not colon:
        return False
    # A sampled event with modifiers; a probe.
    return system in known or system in _NO_TRACEPOINTS


def _defined(body: Iterable[ast.stmt]) -> Iterator[str]:
    """Yield the names that statements bind in the module, or as globals from within functions."""
    for statement in body:
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef):
            yield statement.name
            yield from _globals(statement)
        elif isinstance(statement, ast.Assign | ast.AnnAssign):
            targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
            yield from (target.id for target in targets if isinstance(target, ast.Name))
        elif isinstance(statement, ast.If | ast.For | ast.While | ast.With | ast.Try):
            for part in ("body", "orelse", "finalbody"):
                yield from _defined(getattr(statement, part, ()))
            for handler in getattr(statement, "handlers", ()):
                yield from _defined(handler.body)


def _globals(function: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[str]:
    for node in ast.walk(function):
        if isinstance(node, ast.Global):
            yield from node.names
