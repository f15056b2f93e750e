"""Filters: text in, a checked tree out, or an error that points at the place.

The language is described in filter.lark (syntax) and filter_tree.py (what numbers are). No
text of the user gets past this module but as numbers.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ptrace_formats.event_format import EventFormat
from ptraced.diagnostics import pointed
from ptraced.errors import TraceError
from ptraced.filter_check import Checker
from ptraced.filter_syntax import FilterError, Syntax, parse_syntax
from ptraced.filter_tree import Field, Match, Number, walk

FILTER_BYTES_MAX = 65536


@dataclass(frozen=True)
class Filter:
    """A filter that fits its event.

    `canonical` is a text that two filters share exactly if their trees are equal; `fields`
    are the fields of the record that are looked at. `text` is where it came from, if anywhere.
    """

    root: Number
    text: FilterText | None = field(default=None, compare=False)
    canonical: str = field(init=False)
    fields: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "canonical", self.root.canonical)
        object.__setattr__(self, "fields", frozenset(_field_names(self.root)))


@dataclass(frozen=True, slots=True)
class FilterText:
    """A filter as typed: line[start:end], of the selector `line` where it came from."""

    line: str
    start: int
    end: int
    syntax: Syntax


def parse_filter(line: str, start: int = 0, end: int | None = None) -> FilterText:
    """Parse line[start:end]; raises TraceError with a caret under the place in `line`."""
    end = len(line) if end is None else end
    text = line[start:end]
    size = len(text.encode(errors="surrogatepass"))
    if size > FILTER_BYTES_MAX:
        message = f"a filter of {size} bytes, at most {FILTER_BYTES_MAX} are possible"
        raise TraceError(pointed(message, line, start, end))
    try:
        return FilterText(line, start, end, parse_syntax(text))
    except FilterError as fault:
        raise _placed(fault, line, start) from None


def check_filter(text: FilterText, format: EventFormat) -> Filter:
    """Check a filter against an event's fields; raises TraceError with a caret."""
    try:
        return Filter(Checker(format).check(text.syntax), text)
    except FilterError as fault:
        raise _placed(fault, text.line, text.start) from None


def _placed(fault: FilterError, line: str, offset: int) -> TraceError:
    return TraceError(pointed(fault.message, line, offset + fault.start, offset + fault.end))


def _field_names(root: Number) -> set[str]:
    names = set()
    for node in walk(root):
        if isinstance(node, Field):
            names.add(node.name)
        elif isinstance(node, Match) and isinstance(node.source, str):
            names.add(node.source)
    return names
