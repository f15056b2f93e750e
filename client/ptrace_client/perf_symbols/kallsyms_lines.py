"""The kernel's symbols as lines of /proc/kallsyms, taken apart when addresses are looked up.

Samples lie in some hundred of the hundred thousands of symbols that a kernel has. The answers
are those of the table that kallsyms.py makes of the same text.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from itertools import takewhile
from operator import itemgetter
from typing import Final, NamedTuple

from ptrace_client.perf_symbols.aliases import GLOBAL, WEAK, Alias, goes_first
from ptrace_client.perf_symbols.model import Symbol

_ADDRESSES: Final = 1 << 64
_PAGE: Final = 4096
# Symbols that may lie, nested, between a function's start and an address in it.
_NESTED_MAX: Final = 64
# A line: digits of the address, the kind between blanks, the name.
_DIGITS: Final = 16
_NAME: Final = _DIGITS + 3
_LOWER_HEX: Final = b"0123456789abcdef"
_KINDS: Final = frozenset(b" %c " % kind for kind in b"tTwWdDbB")
_OTHER_KINDS: Final = frozenset((b"", *(b" %c " % kind for kind in b"aArRvVuUnN")))
_KEY: Final = itemgetter(slice(0, _DIGITS))
_KIND: Final = itemgetter(slice(_DIGITS, _NAME))


class Lines(NamedTuple):
    """Lines by address, and the digits of these addresses."""

    lines: list[bytes]
    keys: list[bytes]


class KallsymsLines:
    """Symbols at addresses that are `move` higher than the lines say.

    With `module`, as in "name\\t[module]", only those of that module.
    """

    def __init__(self, lines: Lines, move: int, module: str = "") -> None:
        self._lines, self._keys = lines
        self._move = move
        self._ending = f"\t[{module}]" if module else ""
        # By the first line of an address; None for what is of another module.
        self._made: dict[int, Symbol | None] = {}

    def __len__(self) -> int:
        return len(self._lines)

    @property
    def range(self) -> tuple[int, int]:
        """Start of the first symbol and end of the last one."""
        start, end = int(self._keys[0], 16), self._end(len(self._keys) - 1)
        return (start + self._move) % _ADDRESSES, (end + self._move) % _ADDRESSES

    def find(self, address: int) -> Symbol | None:
        """Return the symbol that an address lies in, the innermost if there are several."""
        keys, made = self._keys, self._made
        at = bisect_right(keys, b"%016x" % ((address - self._move) % _ADDRESSES))
        for _ in range(_NESTED_MAX):
            if not at:
                return None
            at = bisect_left(keys, keys[at - 1])
            if at not in made:
                made[at] = self._symbol(at)
            symbol = made[at]
            if symbol is not None and (address < symbol.end or address == symbol.start):
                return symbol
        return None

    def _symbol(self, first: int) -> Symbol | None:
        """Return what is shown of the lines that have the address of the line `first`."""
        best = first
        for index in range(first + 1, bisect_right(self._keys, self._keys[first], first)):
            if not goes_first(self._alias(best), self._alias(index)):
                best = index
        shown = self._alias(best)
        if not shown.name.endswith(self._ending):
            return None
        start, end = int(self._keys[best], 16) + self._move, self._end(best) + self._move
        name = shown.name.partition("\t")[0] if self._ending else shown.name
        return Symbol(start % _ADDRESSES, end % _ADDRESSES, shown.binding, name)

    def _alias(self, index: int) -> Alias:
        line = self._lines[index]
        kind = line[_DIGITS + 1 : _DIGITS + 2]
        binding = WEAK if kind == b"W" else GLOBAL if kind.isupper() else 0
        has_size = self._end(index) > int(self._keys[index], 16)
        return Alias(has_size, binding, line[_NAME:].decode(errors="surrogateescape"))

    def _end(self, index: int) -> int:
        """A symbol reaches up to the next one, the last to a page's end."""
        if index + 1 < len(self._keys):
            return int(self._keys[index + 1], 16)
        return (int(self._keys[index], 16) + 2 * _PAGE - 1 & ~(_PAGE - 1)) % _ADDRESSES


def split_lines(text: bytes) -> tuple[Lines, Lines] | None:
    """Return the kernel's own functions and data, and those of all modules.

    None where the text is not laid out as today's kernels of 64 bits do it, modules behind.
    """
    # Symbols that name nothing, and empty names.
    if b" $" in text or b" \n" in text:
        return None
    found = text.split(b"\n")
    kinds = [*map(_KIND, found)]
    lines = [line for line, kind in zip(found, kinds, strict=True) if kind in _KINDS]
    if not _OTHER_KINDS.issuperset({*kinds} - _KINDS) or kinds.count(b"") > 1:
        return None
    lines.sort(key=_KEY)
    keys = [*map(_KEY, lines)]
    if not lines or b"".join(keys).translate(None, _LOWER_HEX):
        return None
    own = len(lines)
    if b"[" in text:
        own -= sum(1 for _ in takewhile(_is_of_module, reversed(lines)))
        # Joined, that is looked for at once.
        if b"[" in b"".join(lines[:own]):
            return None
    # Where the reader may not know addresses, all are the same.
    if not own or keys[0] == keys[own - 1] or keys[own - 1 : own] == keys[own : own + 1]:
        return None
    return Lines(lines[:own], keys[:own]), Lines(lines[own:], keys[own:])


def _is_of_module(line: bytes) -> bool:
    return b"\t[" in line
