"""Glob patterns as the kernel's glob_match() (lib/glob.c) reads them, byte by byte."""

from __future__ import annotations

from dataclasses import dataclass

# A pattern's item: the bytes it takes, as inclusive ranges; NUL is never among them.
Item = tuple[tuple[int, int], ...]

ANY: Item = ((1, 255),)
_STAR, _QUESTION, _OPEN, _CLOSE, _ESCAPE, _NOT, _DASH = b"*?[]\\!-"


@dataclass(frozen=True, slots=True)
class Pattern:
    """Items to be matched one after the other.

    `stars` holds the positions before which any bytes may stand: 0 is the start of the
    text, len(items) its end.
    """

    items: tuple[Item, ...]
    stars: frozenset[int]

    @property
    def fixed(self) -> bool:
        """Whether every item has but one place where it can match."""
        return self.stars <= {len(self.items)}

    @property
    def open_ended(self) -> bool:
        """Whether anything may follow the last item."""
        return len(self.items) in self.stars


def literal(text: bytes) -> Pattern:
    """Return the pattern that only this text matches."""
    return Pattern(tuple(((byte, byte),) for byte in text), frozenset())


def glob(text: bytes) -> Pattern:
    """Return the pattern that a glob stands for: * ? [a-z] [!a-z], and \\ before any of them."""
    items: list[Item] = []
    stars = set()
    at = 0
    while at < len(text):
        byte = text[at]
        at += 1
        if byte == _STAR:
            stars.add(len(items))
        elif byte == _QUESTION:
            items.append(ANY)
        elif byte == _OPEN and (found := _class(text, at)):
            item, at = found
            items.append(item)
        else:
            if byte == _ESCAPE and at < len(text):
                byte = text[at]
                at += 1
            items.append(((byte, byte),))
    return Pattern(tuple(items), frozenset(stars))


def _class(text: bytes, at: int) -> tuple[Item, int] | None:
    """The class whose "[" is before text[at] and where it ends; None where it is not closed."""
    inverted = text[at : at + 1] == b"!"
    at += inverted
    taken: set[int] = set()
    first = True
    # A "]" that comes first is an ordinary byte.
    while at < len(text) and (first or text[at] != _CLOSE):
        first = False
        low = high = text[at]
        at += 1
        if text[at : at + 1] == b"-" and at + 1 < len(text) and text[at + 1] != _CLOSE:
            high = text[at + 1]
            at += 2
        taken.update(range(low, high + 1))
    if at >= len(text):
        return None
    if inverted:
        taken = set(range(256)) - taken
    return _ranges(sorted(taken - {0})), at + 1


def _ranges(values: list[int]) -> Item:
    ranges: list[tuple[int, int]] = []
    for value in values:
        if ranges and ranges[-1][1] == value - 1:
            ranges[-1] = (ranges[-1][0], value)
        else:
            ranges.append((value, value))
    return tuple(ranges)
