"""Which events are shown to users who may trace their own tasks only, and which of their fields.

The table is events.txt, which says how it is written. What is not in it is denied.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cache, lru_cache
from pathlib import Path

_FILE = Path(__file__).with_name("events.txt")
_DENY = "deny"
_SOME_KERNELS = "~"
_ALL = "*"


class Sight(enum.Enum):
    """How a field is shown; the values are its sign in the file."""

    SHOWN = ""
    BLANK = "-"
    AS_PROC = "?"
    ADDRESS = "@"


_SIGNS = {sight.value: sight for sight in Sight if sight.value}


@dataclass(frozen=True, slots=True)
class Entry:
    """What the table says of the events that `name`, which may be a glob, has.

    `optional` are fields, and `is_optional` says of the events, that some kernels do not have.
    """

    name: str
    denied: bool = False
    is_optional: bool = False
    sights: dict[str, Sight] = field(default_factory=dict)
    optional: frozenset[str] = frozenset()

    def blank(self, names: Iterable[str], others_in_proc: bool) -> frozenset[str]:
        """Those of an event's fields that are blank.

        `others_in_proc` says whether /proc shows the caller everybody's tasks.
        """
        if _ALL in self.sights:
            return frozenset()
        shown = {Sight.SHOWN, Sight.ADDRESS} | ({Sight.AS_PROC} if others_in_proc else set())
        return frozenset(name for name in names if self.sights.get(name, Sight.BLANK) not in shown)

    @property
    def addresses(self) -> frozenset[str]:
        """Fields that are marked as addresses of the kernel."""
        return frozenset(name for name, sight in self.sights.items() if sight is Sight.ADDRESS)


@cache
def table() -> tuple[Entry, ...]:
    """The table of events.txt."""
    return tuple(parse(_FILE.read_text()))


@lru_cache(maxsize=4096)
def find(name: str) -> Entry | None:
    """What the table says of an event, "system:name"; the counter's name of those that sample."""
    return next((entry for entry in table() if fnmatchcase(name, entry.name)), None)


def parse(text: str) -> Iterator[Entry]:
    """Entries of a table in their order; raises ValueError that names the line."""
    names: list[str] = []
    fields: list[str] = []
    for number, line in enumerate(text.splitlines(), 1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        if line[0].isspace():
            if not names:
                raise ValueError(f"line {number}: fields of no event")
            fields += words
            continue
        if fields:
            yield from _entries(names, fields)
            names, fields = [], []
        denies = words[0] == _DENY
        names += [f"{_DENY} {word}" for word in words[1:]] if denies else words
    if names and not fields:
        raise ValueError(f"{names[0]} has no fields")
    yield from _entries(names, fields)


def _entries(names: list[str], fields: list[str]) -> Iterator[Entry]:
    sights: dict[str, Sight] = {}
    optional = set()
    for word in fields:
        signed = word.removeprefix(_SOME_KERNELS)
        sight = _SIGNS.get(signed[0], Sight.SHOWN)
        name = signed.removeprefix(sight.value)
        if name in sights:
            raise ValueError(f"{names[0]}: '{name}' stands there twice")
        sights[name] = sight
        if signed != word:
            optional.add(name)
    for written in names:
        denied, name = written.startswith(f"{_DENY} "), written.removeprefix(f"{_DENY} ")
        yield Entry(
            name.removeprefix(_SOME_KERNELS),
            denied,
            name.startswith(_SOME_KERNELS),
            sights,
            frozenset(optional),
        )
