"""How large a filter may become as a BPF program.

Jumps reach 32,767 instructions, and the verifier follows at most 1,000,000
(BPF_COMPLEXITY_LIMIT_INSNS), every pass of a loop counted. The costs here are upper bounds of
what clang makes; tests/daemon/test_filter_kernel.py holds that what is allowed loads.
"""

from __future__ import annotations

from ptraced.filter_tree import Arithmetic, InSet, Match, Number
from ptraced.glob_pattern import Pattern

_CODE_MAX = 24_000
_FOLLOWED_MAX = 700_000

_PLAIN, _DIVISION, _RANGE = 6, 20, 5
_COMPARED_TEXT, _COMPARED_BYTE = 20, 1
# A search's code, its share per range of bytes in classes, and both for one byte of text.
_SEARCH, _SEARCH_RANGE = 500, 100
_SEARCH_BYTE, _SEARCH_BYTE_RANGE = 27, 6


class Budget:
    """What a filter has used up, in instructions: in the program, and for the verifier."""

    def __init__(self) -> None:
        self._code = 0
        self._followed = 0

    def spend(self, node: Number) -> str:
        """Count a node without those below it; returns what is wrong, "" if it still fits."""
        if isinstance(node, Match) and not node.pattern.fixed:
            # A range is tested once for all items of a search.
            ranges = len(set(_ranges(node.pattern)))
            self._code += _SEARCH + _SEARCH_RANGE * ranges
            self._followed += node.longest * (_SEARCH_BYTE + _SEARCH_BYTE_RANGE * ranges)
            if self._followed > _FOLLOWED_MAX:
                return (
                    "too many patterns to search for in long strings: "
                    "those without '*', or with one at their end only, are cheap"
                )
        else:
            self._code += _code(node)
        return "this filter is too large for a BPF program" if self._code > _CODE_MAX else ""


def _code(node: Number) -> int:
    match node:
        case Match():
            items, ranges = node.pattern.items, _ranges(node.pattern)
            return _COMPARED_TEXT + _COMPARED_BYTE * len(items) + _RANGE * len(ranges)
        case Arithmetic():
            return _DIVISION if node.operator in ("/", "%") else _PLAIN
        case InSet():
            return _PLAIN + _RANGE * len(node.ranges)
        case _:
            return _PLAIN


def _ranges(pattern: Pattern) -> list[tuple[int, int]]:
    """Ranges of bytes in the classes of a pattern."""
    return [
        bounds
        for item in pattern.items
        for bounds in item
        if len(item) > 1 or bounds[0] != bounds[1]
    ]
