"""Errors that point at a place in what the user typed, as compilers do."""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Iterable

# Characters of the user's line shown on either side of a marked span that is far in.
_CONTEXT = 60
_LINE_MAX = 160
_ELLIPSIS = "..."
_TEXT_MAX = 4000
_BEGINNING, _END = 600, 1000
# Longer names are no misspelt ones, and comparing them takes long.
_NAME_MAX = 100


def nearest(name: str, candidates: Iterable[str]) -> str:
    """Return " (did you mean 'x'?)" for the candidate most like `name`, "" if none is."""
    if len(name) > _NAME_MAX:
        return ""
    close = difflib.get_close_matches(name, candidates, n=1, cutoff=0.6)
    return f" (did you mean '{close[0]}'?)" if close else ""


def printable(text: str) -> str:
    """Return text with what could act on a terminal (control characters) escaped."""
    return "".join(char if char.isprintable() else _escaped(char) for char in text)


def bounded(text: str) -> str:
    """Return text that fits into a status of gRPC: of much, the beginning and the end.

    Clients drop calls whose trailing metadata has more than 16 KiB, in which every byte that is
    not ASCII takes three; what is pointed at stands at the end.
    """
    if len(text) <= _TEXT_MAX:
        return text
    return f"{text[:_BEGINNING]}{_ELLIPSIS}{text[-_END:]}"


def pointed(message: str, line: str, start: int, end: int) -> str:
    """Return the message, the line, and a caret with tildes under line[start:end].

    >>> print(pointed("no field 'pidd'", "a:b/pidd>1/", 4, 8))
    error: no field 'pidd'
      a:b/pidd>1/
          ^~~~
    """
    first, last = 0, len(line)
    if len(line) > _LINE_MAX:
        first = max(0, start - _CONTEXT)
        last = min(len(line), max(start, min(end, start + _CONTEXT)) + _CONTEXT)
    before = (_ELLIPSIS if first else "") + printable(line[first:start])
    marked = printable(line[start : min(end, last)])
    after = printable(line[max(start, min(end, last)) : last])
    after += _ELLIPSIS if last < len(line) else ""
    tildes = "~" * (_columns(marked) - 1)
    return f"error: {message}\n  {before}{marked}{after}\n  {' ' * _columns(before)}^{tildes}"


def _escaped(char: str) -> str:
    code = ord(char)
    if char in "\n\r\t":
        return {"\n": "\\n", "\r": "\\r", "\t": "\\t"}[char]
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def _columns(text: str) -> int:
    """Columns that a terminal uses for the text."""
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1
        for char in text
    )
