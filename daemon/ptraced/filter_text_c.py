"""String comparisons of filters as C. Characters appear as numbers only.

Texts of fixed size lie in the record and are compared there, word by word. Others are read
in pieces. Patterns with a star before their end are searched for by bpf/filter_scan.c.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ptrace_formats.event_format import EventFormat
from ptrace_proto import ptrace_pb2 as pb
from ptraced.filter_tree import Match, Memory, Pseudo
from ptraced.glob_pattern import ANY, Item, Pattern

_SCAN = Path(__file__).parent / "bpf" / "filter_scan.c"
_ROOM = """\
#ifndef FILTER_ROOM
#define FILTER_ROOM
BPF_PERCPU_ARRAY(filter_room, struct filter_room, 1);
#endif
"""
# FILTER_PIECE of bpf/filter.h, and what of it is compared at once, in whole words.
_PIECE = 64
_COMPARED = 56


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a text lies: longest length in bytes, C for its address, how it can be read.

    `load` is a format string for C that loads a word directly, "" where that is not possible
    since texts vary in length; `length` is C for their length then.
    """

    longest: int
    address: str
    load: str = ""
    offset: int = 0
    length: str = ""
    user: bool = False


class TextEmitter:
    """Emits the comparisons of one filter function; `definitions` belong before it."""

    def __init__(self, format: EventFormat, name: str) -> None:
        self._format = format
        self._name = name
        self._scans = 0
        self.definitions: list[str] = []

    @property
    def needs_room(self) -> bool:
        """Whether the function needs the variable `room`."""
        return bool(self.definitions)

    def match(self, node: Match) -> str:
        """Return an expression for whether the text matches."""
        place = self._place(node)
        pattern = node.pattern
        if len(pattern.items) > node.longest:
            return "false"
        if not pattern.fixed:
            return self._scan(place, pattern)
        if place.load:
            return _conjunction(_compare_in_place(place, pattern))
        self._define_room()
        return self._compare_in_pieces(place, pattern)

    def _place(self, node: Match) -> _Place:
        if isinstance(node.source, Pseudo):
            return _Place(node.longest, "(u64)comm", "*({type} *)((void *)comm + {at})")
        field = self._format.field(node.source)
        assert field is not None
        if node.memory is not None:
            address = f"FILTER_LOAD(u64, {field.offset})"
            user = node.memory is Memory.USER
            return _Place(node.longest, address, length=str(node.longest), user=user)
        if field.kind == pb.FIELD_KIND_CHAR_ARRAY:
            address = f"record + {field.offset}"
            return _Place(node.longest, address, "FILTER_LOAD({type}, {at})", field.offset)
        locator = f"FILTER_LOAD(u32, {field.offset})"
        start = field.offset + field.size if field.relative else 0
        address = f"record + {start} + ({locator} & 0xffff)"
        return _Place(node.longest, address, length=f"filter_length({locator})")

    def _define_room(self) -> None:
        if not self.definitions:
            self.definitions.append(_ROOM)

    def _compare_in_pieces(self, place: _Place, pattern: Pattern) -> str:
        items = pattern.items
        tests = []
        for done in range(0, max(len(items), 1), _COMPARED):
            piece = items[done : done + _COMPARED]
            open_ended = pattern.open_ended or done + _COMPARED < len(items)
            tests.append(
                f"filter_piece(room, from, length, {done}, {len(piece)}, "
                f"{int(open_ended)}, {int(place.user)})"
            )
            tests += _compare("*({type} *)(room->text + {at})", 0, _PIECE, piece)
        return (
            f"({{ u64 from = {place.address}; u32 length = {place.length}; "
            f"{_conjunction(tests)}; }})"
        )

    def _scan(self, place: _Place, pattern: Pattern) -> str:
        self._define_room()
        name = f"{self._name}_scan_{self._scans}"
        self._scans += 1
        holes = _scan_holes(pattern)
        holes["NAME"] = name
        holes["LONGEST"] = str(place.longest)
        holes["USER"] = str(int(place.user))
        template = _SCAN.read_text()
        self.definitions.append(re.sub(r"@([A-Z]+)@", lambda hole: holes[hole[1]], template))
        return f"{name}(room, {place.address}, {place.length or place.longest})"


def _scan_holes(pattern: Pattern) -> dict[str, str]:
    """What of filter_scan.c depends on the pattern."""
    count = len(pattern.items)
    low, high = [0] * 16, [0] * 16
    classes: dict[tuple[int, int], int] = {}
    # The text's end counts as an item that takes a NUL.
    for bit, item in enumerate((*pattern.items, ((0, 0),))):
        for first, last in item:
            if first == last and len(item) == 1:
                low[first & 15] |= 1 << bit
                high[first >> 4] |= 1 << bit
            else:
                classes[first, last] = classes.get((first, last), 0) | 1 << bit
    tables = [
        f"\troom->{name}[{index}] = {bits:#x}ULL;"
        for name, table in (("low", low), ("high", high))
        for index, bits in enumerate(table)
    ]
    tests = [
        f"filter_within(byte, {first}, {last}) * {bits:#x}ULL"
        for (first, last), bits in classes.items()
    ]
    matched = 1 << (count + 1)
    done = matched | (1 << count if pattern.open_ended else 0)
    return {
        "CLASSES": " | ".join(tests) or "0",
        "STARS": f"{sum(1 << star for star in pattern.stars):#x}ULL",
        "MATCHED": f"{matched:#x}ULL",
        "OVER": f"{1 << 63:#x}ULL",
        "DONE": f"{done:#x}ULL",
        "TABLES": "\n".join(tables),
    }


def _compare_in_place(place: _Place, pattern: Pattern) -> list[str]:
    items = list(pattern.items)
    if not pattern.open_ended and len(items) < place.longest:
        items.append(((0, 0),))
    return _compare(place.load, place.offset, place.longest, items)


def _compare(load: str, offset: int, size: int, items: Sequence[Item]) -> list[str]:
    """Tests of whether the `size` bytes at the offset start with what the items take."""
    tests = []
    at = 0
    while at < len(items):
        word = _word(offset + at, size - at)
        part = items[at : at + word]
        mask, value = 0, 0
        for index, item in enumerate(part):
            if len(item) == 1 and item[0][0] == item[0][1]:
                mask |= 0xFF << 8 * index
                value |= item[0][0] << 8 * index
            else:
                byte = load.format(type="u8", at=offset + at + index)
                tests.append(_byte_test(byte, item))
        if mask:
            loaded = load.format(type=f"u{8 * word}", at=offset + at)
            whole = mask == (1 << 8 * word) - 1
            masked = loaded if whole else f"({loaded} & {mask:#x}ULL)"
            tests.append(f"({masked} == {value:#x}ULL)")
        at += word
    return tests


def _byte_test(byte: str, item: Item) -> str:
    if item == ANY:
        return f"({byte} != 0)"
    ranges = " || ".join(f"(u8)({byte} - {first}) <= {last - first}" for first, last in item)
    return f"({ranges})" if ranges else "false"


def _word(offset: int, rest: int) -> int:
    """Size of the largest aligned load at the offset that does not go beyond the rest."""
    return next(size for size in (8, 4, 2, 1) if offset % size == 0 and size <= rest)


def _conjunction(tests: list[str]) -> str:
    return f"({' && '.join(tests)})" if tests else "true"
