"""Selectors of -e for recordings: a name, maybe with what was asked of the event when it was live.

The daemon's grammar is NAME[/FILTER OR OPTIONS/ATTRIBUTE/.../], with commas between selectors. Of
all that may stand between slashes only what makes no other events of those in the file is taken.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from ptrace_client.errors import ClientError
from ptrace_client.printing import terminal_safe

_CLOSING: Final = {"(": ")", "[": "]", "{": "}"}
_STACK_ATTRIBUTE: Final = "stack"
_STACK_OPTIONS: Final = frozenset(("-g", "--call-graph"))
# How often a recording has samples is decided; these have a number behind them.
_RATES: Final = frozenset(("-F", "--freq", "-c", "--count", "--period"))

_PROBES_OF_FILES: Final = frozenset(("uprobe", "uretprobe", "usdt"))


@dataclass(frozen=True, slots=True)
class RecordedSelector:
    """A selector as typed, the event's name in it, and whether that is to have call chains."""

    text: str
    name: str
    stack: bool = False


def parse_selectors(selectors: Sequence[str], names: frozenset[str]) -> list[RecordedSelector]:
    """Return what the texts of all -e say of a recording whose events have these names.

    A text that is such a name is one, whatever is in it ("cpu/event=0x3c/"). Raise ClientError for
    filters, and attributes that a recording cannot follow.
    """
    return [_parsed(text, names) for selector in selectors for text in _split(selector, names)]


def _parsed(text: str, names: frozenset[str]) -> RecordedSelector:
    name, *parts = _between(text, "/")
    if text in names:
        return RecordedSelector(text, text)
    name = _without_file(name.strip())
    if not parts:
        return RecordedSelector(text, name)
    if not _is_closed(parts):
        raise _refusal(text)
    options, *attributes = (part.strip() for part in parts)
    stack, words = False, iter(options.split())
    for word in words:
        if word in _STACK_OPTIONS:
            stack = True
        elif word not in _RATES or not next(words, "").isdecimal():
            raise _refusal(text)
    for attribute in attributes:
        if attribute not in ("", _STACK_ATTRIBUTE):
            raise _refusal(text)
        stack = stack or attribute == _STACK_ATTRIBUTE
    return RecordedSelector(text, name, stack)


def _without_file(name: str) -> str:
    """Return a probe's name as recordings have it: they do not tell in which file it was."""
    kind, _, _ = name.partition(":")
    return name.partition("@")[0] if kind in _PROBES_OF_FILES else name


def _refusal(text: str) -> ClientError:
    return ClientError(
        f"-e {terminal_safe(text)}: filters and attributes are for live events; of a "
        "recording give the event's name, and test its fields in the handler"
    )


def _split(selector: str, names: frozenset[str]) -> Iterator[str]:
    """Yield the selectors of a text; a comma between two slashes is none between selectors."""
    begun: list[str] = []
    for piece in _between(selector, ","):
        begun.append(piece)
        text = ",".join(begun).strip()
        _, *parts = _between(text, "/")
        if text in names or not parts or _is_closed(parts):
            yield text
            begun = []
    if begun:
        yield ",".join(begun).strip()


def _is_closed(parts: Sequence[str]) -> bool:
    """Return whether behind the last slash, which closes the one before, nothing stands."""
    return len(parts) > 1 and not parts[-1].strip()


def _between(text: str, separator: str) -> list[str]:
    """Return what stands between separators that are neither in quotes nor in brackets."""
    parts, start, quote = [], 0, ""
    expected: list[str] = []
    for at, char in enumerate(text):
        if quote:
            quote = "" if char == quote else quote
        elif char in "\"'":
            quote = char
        elif char in _CLOSING:
            expected.append(_CLOSING[char])
        elif expected and char == expected[-1]:
            expected.pop()
        elif char == separator and not expected:
            parts.append(text[start:at])
            start = at + 1
    return [*parts, text[start:]]
