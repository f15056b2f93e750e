"""Whose dialect a script is written in, told by its text before it is run.

perf's scripts have handlers of many arguments and callbacks such as trace_begin; perf-prof's
have handlers of one event and callbacks such as __init__.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Final

from ptrace_client.errors import ClientError
from ptrace_client.perf_script.options import PERF_PROF, PERF_SCRIPT
from ptrace_client.printing import terminal_safe

_PERF_CALLBACKS: Final = frozenset(
    {
        "trace_begin",
        "trace_end",
        "trace_unhandled",
        "process_event",
        "stat__interval",
        "perf_db_export_mode",
        "perf_db_export_calls",
        "perf_db_export_callchains",
        "sample_table",
        "auxtrace_error",
    }
)
_PERF_MODULES: Final = frozenset({"perf_trace_context", "Core", "Util", "EventClass", "SchedGui"})
_PERF_VARIABLE: Final = "PERF_EXEC_PATH"
# __lost__ is called in both dialects.
_PROF_CALLBACKS: Final = frozenset(
    {"__init__", "__exit__", "__sample__", "__interval__", "__print_stat__", "__reconnected__"}
)
_PROF_MODULES: Final = frozenset({"perf_prof"})
# Of the man page's form with no field: event_name, context, cpu, secs, nsecs, pid, comm.
_LEAST_ARGUMENTS: Final = 7
# For handlers that take further arguments.
_ANY: Final = 1 << 16
# stat__EVENT(cpu, thread, time, val, ena, run).
_STAT_ARGUMENTS: Final = 6
_MOST_TEXT: Final = 16 << 20
_DEFINITION: Final = re.compile(r"^[ \t]*def[ \t]+(\w+)[ \t]*\(([^()]*)\)", re.MULTILINE)
_IMPORT: Final = re.compile(r"^[ \t]*(?:from|import)[ \t]+(\w+)", re.MULTILINE)


@dataclass
class _Evidence:
    """Why a script may be in either dialect; `weak` reasons count where there are no others."""

    perf_script: list[str] = field(default_factory=list)
    perf_prof: list[str] = field(default_factory=list)
    weak_perf_script: list[str] = field(default_factory=list)
    weak_perf_prof: list[str] = field(default_factory=list)

    def definition(self, name: str, least: int, most: int, *, annotated: bool = False) -> None:
        """Take in a callable that is given between `least` and `most` arguments."""
        if name in _PERF_CALLBACKS:
            self.perf_script.append(name)
        elif name in _PROF_CALLBACKS or name.endswith("__batch"):
            self.perf_prof.append(name)
        elif not name.startswith("_") and "__" in name:
            self._handler(name, least, most)
        elif least == 1 and annotated:
            self.weak_perf_prof.append(name)

    def _handler(self, name: str, least: int, most: int) -> None:
        if name.startswith("stat__") and least <= _STAT_ARGUMENTS <= most:
            self.perf_script.append(name)
        elif most >= _ANY and least <= 1:
            self.weak_perf_script.append(name)
        elif most >= _LEAST_ARGUMENTS:
            self.perf_script.append(name)
        elif least <= 1 <= most:
            self.perf_prof.append(name)

    def name(self, name: str) -> None:
        """Take in a name that is given to what cannot be told from here."""
        if name in _PERF_CALLBACKS:
            self.perf_script.append(name)
        elif name in _PROF_CALLBACKS:
            self.perf_prof.append(name)

    def module(self, name: str) -> None:
        """Take in the import of a module."""
        if name in _PERF_MODULES:
            self.perf_script.append(f"import {name}")
        elif name in _PROF_MODULES:
            self.perf_prof.append(f"import {name}")

    def text(self, text: str) -> None:
        """Take in a text of the script."""
        if text == _PERF_VARIABLE:
            self.perf_script.append(text)


def choose_dialect(module: str, given: str | None = None) -> str:
    """Return PERF_PROF or PERF_SCRIPT for a script that is named by path or as a module.

    `given` is the user's word. Raise ClientError where there is none and the script does not
    tell. A script that cannot be found or read counts as perf-prof's, whose loader says so.
    """
    if given is not None:
        return given
    path = _file_of(module)
    if path is None:
        return PERF_PROF
    try:
        with path.open("rb") as file:
            source = file.read(_MOST_TEXT)
    except OSError:
        return PERF_PROF
    return dialect_of(source, module)


def dialect_of(source: bytes, name: str) -> str:
    """Return the dialect of a script's text. Raise ClientError naming it where it is unclear."""
    evidence = _evidence(source)
    ours, prof = evidence.perf_script, evidence.perf_prof
    if not ours and not prof:
        ours, prof = evidence.weak_perf_script, evidence.weak_perf_prof
    if bool(ours) != bool(prof):
        return PERF_SCRIPT if ours else PERF_PROF
    name = terminal_safe(name)
    advice = f"say --dialect {PERF_PROF} or --dialect {PERF_SCRIPT}"
    if not prof:
        raise ClientError(
            f"cannot tell whose dialect {name} is in: it defines no handler, neither "
            f"sys__event(event) nor sys__event(event_name, context, ...); {advice}"
        )
    raise ClientError(
        f"cannot tell whose dialect {name} is in: {ours[0]} is perf script's, "
        f"{prof[0]} is perf-prof's; {advice}"
    )


def _file_of(module: str) -> Path | None:
    if "/" in module or module.endswith((".py", ".so")):
        path = Path(module)
        return path if path.suffix != ".so" and path.is_file() else None
    try:
        spec = PathFinder.find_spec(module.partition(".")[0], ["", *_search_path()])
    except (ImportError, ValueError):
        return None
    if spec is None or spec.origin is None or "." in module or not spec.origin.endswith(".py"):
        return None
    return Path(spec.origin)


def _search_path() -> list[str]:
    import sys

    return sys.path


def _evidence(source: bytes) -> _Evidence:
    evidence = _Evidence()
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        _look_at_text(source.decode("utf-8", "replace"), evidence)
        return evidence
    for statement in _statements(tree.body):
        _look_at(statement, evidence)
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            evidence.text(node.value)
    return evidence


def _statements(body: Iterable[ast.stmt]) -> Iterator[ast.stmt]:
    """Yield what runs with the module, also in if, try, with and loops; not in functions."""
    for statement in body:
        yield statement
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            continue
        for name in ("body", "orelse", "finalbody"):
            yield from _statements(getattr(statement, name, ()))
        for handler in getattr(statement, "handlers", ()):
            yield from _statements(handler.body)


def _look_at(statement: ast.stmt, evidence: _Evidence) -> None:
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef):
        _look_at_function(statement.name, statement.args, evidence)
    elif isinstance(statement, ast.Import):
        for alias in statement.names:
            evidence.module(alias.name.partition(".")[0])
    elif isinstance(statement, ast.ImportFrom):
        evidence.module((statement.module or "").partition(".")[0])
    elif isinstance(statement, ast.Assign | ast.AnnAssign):
        targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
        for name in (target.id for target in targets if isinstance(target, ast.Name)):
            if isinstance(statement.value, ast.Lambda):
                _look_at_function(name, statement.value.args, evidence)
            else:
                evidence.name(name)


def _look_at_function(name: str, arguments: ast.arguments, evidence: _Evidence) -> None:
    positional = [*arguments.posonlyargs, *arguments.args]
    least = len(positional) - len(arguments.defaults)
    most = _ANY if arguments.vararg is not None else len(positional)
    first = positional[0] if positional else None
    annotated = first is not None and (first.arg == "event" or first.annotation is not None)
    evidence.definition(name, least, most, annotated=annotated)


def _look_at_text(text: str, evidence: _Evidence) -> None:
    """Look at what this Python cannot parse, such as scripts for Python 2."""
    for found in _DEFINITION.finditer(text):
        words = [word.strip() for word in found[2].split(",") if word.strip()]
        least = sum("=" not in word and not word.startswith("*") for word in words)
        most = _ANY if any(word.startswith("*") for word in words) else len(words)
        evidence.definition(found[1], least, most)
    for found in _IMPORT.finditer(text):
        evidence.module(found[1])
    if _PERF_VARIABLE in text:
        evidence.text(_PERF_VARIABLE)
