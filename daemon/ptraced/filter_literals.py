"""Constants in filters: numbers, characters, CPU lists."""

from __future__ import annotations

import re

from ptraced.diagnostics import printable
from ptraced.filter_syntax import FilterError, Syntax
from ptraced.filter_tree import UINT_MAX

_NUMBER = re.compile(
    r"(?:0[xX](?P<hex>[0-9a-fA-F]+)|0[bB](?P<bin>[01]+)|(?P<oct>0[0-7]*)|(?P<dec>[1-9][0-9]*))"
    r"(?i:u|l|ul|lu|ll|ull|llu)?"
)
_BASES = {"hex": 16, "bin": 2, "oct": 8, "dec": 10}
_BITS = 64
_ESCAPES = {"n": 10, "t": 9, "r": 13, "0": 0, "\\": 92, "'": 39, '"': 34}
_CPU_MAX = 8191


def number(syntax: Syntax) -> int:
    """Return the value of a number as C writes it; suffixes such as UL have no effect."""
    found = _NUMBER.fullmatch(syntax.text)
    if found is None:
        raise FilterError(f"bad number '{syntax.text[:40]}'", syntax.start, syntax.end)
    kind = next(kind for kind in _BASES if found[kind])
    digits = found[kind].lstrip("0") or "0"
    # Longer ones cannot fit, and Python refuses to convert the longest.
    if len(digits) > _BITS or int(digits, _BASES[kind]) > UINT_MAX:
        raise FilterError(
            f"{syntax.text[:40]} does not fit into {_BITS} bits", syntax.start, syntax.end
        )
    return int(digits, _BASES[kind])


def is_character(syntax: Syntax) -> bool:
    r"""Tell whether a string could also be a character constant: 'a', '\n'."""
    inner = syntax.text[1:-1]
    escaped = len(inner) == 2 and inner[0] == "\\" and inner[1] in _ESCAPES
    return syntax.text[0] == "'" and (escaped or (len(inner) == 1 and inner.isascii()))


def character(syntax: Syntax) -> int:
    """Return the value of a character constant."""
    if not is_character(syntax):
        raise FilterError("a string where a number is needed", syntax.start, syntax.end)
    inner = syntax.text[1:-1]
    return _ESCAPES[inner[1]] if len(inner) == 2 else ord(inner)


def cpu_ranges(syntax: Syntax) -> tuple[tuple[int, int], ...]:
    """Return the CPUs of CPUS{0-3,5} as inclusive ranges, sorted and joined."""
    cpus: set[int] = set()
    for part in syntax.text[len("CPUS{") : -1].split(","):
        bounds = re.fullmatch(r"\s*([0-9]{1,4})(?:-([0-9]{1,4}))?\s*", part, re.ASCII)
        low, high = (int(bounds[1]), int(bounds[2] or bounds[1])) if bounds else (1, 0)
        if low > high or high > _CPU_MAX:
            raise FilterError(f"bad CPU list '{printable(part)}'", syntax.start, syntax.end)
        cpus.update(range(low, high + 1))
    ranges: list[tuple[int, int]] = []
    for cpu in sorted(cpus):
        if ranges and ranges[-1][1] == cpu - 1:
            ranges[-1] = (ranges[-1][0], cpu)
        else:
            ranges.append((cpu, cpu))
    return tuple(ranges)
