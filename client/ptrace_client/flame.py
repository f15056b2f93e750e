"""Stacks added up: folded lines, as flame graph tools take them, and a drawing in characters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from ptrace_client.report import one_line

_UNKNOWN: Final = "Unknown"
# Characters of a box: its bar and the first two of the name.
_NARROWEST: Final = 3
_OTHER: Final = ("[other stacks]",)


def frame_name(frame: Mapping[str, Any]) -> str:
    """Return how a frame of `event._callchain` is called in a folded stack.

    Functions of the kernel end with `_[k]`; what has no symbol goes by its file, in brackets.
    """
    name: str = frame["symbol"]
    if name == _UNKNOWN:
        dso: str = frame["dso"]
        return "[unknown]" if dso == _UNKNOWN else f"[{dso.rpartition('/')[2].strip('[]')}]"
    return f"{name}_[k]" if frame["kernel"] else name


def fold(callchain: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """Return the names of a callchain's frames, the outermost caller first."""
    # Most frames are functions of programs: no call for these.
    return tuple(
        [
            frame_name(frame) if frame["kernel"] or frame["symbol"] == _UNKNOWN else frame["symbol"]
            for frame in reversed(callchain)
        ]
    )


class FoldedStacks:
    """Amounts (samples, bytes, ns, ...) by stack; beyond `most` stacks, of the others together."""

    def __init__(self, most: int = 100_000) -> None:
        self.amounts: dict[tuple[str, ...], int] = {}
        self._most = most

    @property
    def total(self) -> int:
        """The sum of all amounts."""
        return sum(self.amounts.values())

    def add(self, stack: tuple[str, ...], amount: int = 1) -> None:
        """Add to the amount of a stack of names, the outermost caller first."""
        amounts = self.amounts
        if stack in amounts:
            amounts[stack] += amount
            return
        if len(amounts) >= self._most:
            stack = _OTHER
        amounts[stack] = amounts.get(stack, 0) + amount

    def lines(self) -> list[str]:
        """Return a line "caller;callee;leaf AMOUNT" for each stack, by name.

        >>> stacks = FoldedStacks()
        >>> stacks.add(("main", "work"), 3)
        >>> stacks.lines()
        ['main;work 3']
        """
        return sorted(
            f"{';'.join(map(_folded_name, stack))} {amount}"
            for stack, amount in self.amounts.items()
        )

    def draw(self, width: int = 100) -> list[str]:
        """Return a flame graph of `width` characters, the outermost caller on top.

        Each function is as wide as its share of the total, the largest one first; those
        narrower than three characters are left out. A name comes with its share in percent.

        >>> stacks = FoldedStacks()
        >>> stacks.add(("main", "work", "sort"), 6)
        >>> stacks.add(("main", "work"), 2)
        >>> stacks.add(("main", "read"), 2)
        >>> print(*stacks.draw(41), sep="\\n")
        |main 100%------------------------------|
        |work 80%-----------------------|read---|
        |sort 60%---------------|
        """
        root = _Node()
        for stack, amount in self.amounts.items():
            root.add(stack, amount)
        rows: list[_Row] = []
        for box in root.boxes(0, 0) if root.amount else ():
            if box.depth == len(rows):
                rows.append(_Row(width))
            rows[box.depth].put(box, root.amount)
        return [row.text() for row in rows if not row.empty]


@dataclass
class _Node:
    """A function by its callers, and what stands below it."""

    amount: int = 0
    below: dict[str, _Node] = field(default_factory=dict)

    def add(self, stack: Sequence[str], amount: int) -> None:
        node = self
        node.amount += amount
        for name in stack:
            node = node.below.setdefault(name, _Node())
            node.amount += amount

    def boxes(self, start: int, depth: int) -> Iterator[_Box]:
        """What is called from here, then what that calls, at its place in the total."""
        # Not by recursion: stacks are deep.
        left = [(self, start, depth)]
        while left:
            node, start, depth = left.pop()
            for name, child in sorted(node.below.items(), key=lambda item: -item[1].amount):
                yield _Box(name, depth, start, child.amount)
                left.append((child, start, depth + 1))
                start += child.amount


@dataclass(frozen=True)
class _Box:
    """A function's place: `amount` of the total from `start` on."""

    name: str
    depth: int
    start: int
    amount: int


class _Row:
    """A line of the drawing. A box begins with a bar; the last one of several ends with one."""

    def __init__(self, width: int) -> None:
        self._cells = [" "] * width
        self.empty = True

    def put(self, box: _Box, total: int) -> None:
        # One character is left for the last bar.
        scale = len(self._cells) - 1
        start, end = box.start * scale // total, (box.start + box.amount) * scale // total
        if end - start < _NARROWEST:
            return
        self.empty = False
        self._cells[start:end] = "|" + _label(box, total, end - start - 1)
        self._cells[end] = "|"

    def text(self) -> str:
        return "".join(self._cells).rstrip()


def _label(box: _Box, total: int, width: int) -> str:
    """The name in exactly `width` characters, with the share of the total if that fits, too."""
    name = one_line(box.name)
    full = f"{name} {round(100 * box.amount / total)}%"
    return (full if len(full) <= width else name[:width]).ljust(width, "-")


def _folded_name(name: str) -> str:
    # A semicolon parts frames, and a line is a stack.
    return one_line(name).replace(";", ":")
