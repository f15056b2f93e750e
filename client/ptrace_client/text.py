"""Plain text for terminals: columns, sizes, lists of CPUs."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence

from ptrace_client.printing import terminal_safe
from ptrace_client.report import one_line


def print_error(text: str) -> None:
    """Print a message for the user on stderr; one that marks a place begins with "error:"."""
    message = text if text.startswith("error: ") else f"error: {text}"
    print(terminal_safe(message), file=sys.stderr, flush=True)


def columns(rows: Iterable[Sequence[str]]) -> list[str]:
    """Return lines in which the cells of `rows` stand below each other, safe for a terminal."""
    cells = [[one_line(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in cells
    ]


def byte_size(count: int) -> str:
    """Return `count` bytes in the largest binary unit that leaves at least 1: "64 MiB"."""
    amount, unit = float(count), "B"
    for larger in ("KiB", "MiB", "GiB"):
        if amount < 1024:
            break
        amount, unit = amount / 1024, larger
    return f"{amount:.4g} {unit}"


def duration(seconds: float) -> str:
    """Return a time in its two largest units: "3d 4h", "2m 5s", "0s"."""
    left = max(int(seconds), 0)
    parts: list[str] = []
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        count, left = divmod(left, size)
        if count or (unit == "s" and not parts):
            parts.append(f"{count}{unit}")
    return " ".join(parts[:2])


def number_ranges(numbers: Iterable[int]) -> str:
    """Return numbers as a CPU list: "0-3,8"."""
    ranges: list[list[int]] = []
    for number in sorted(numbers):
        if ranges and number == ranges[-1][1] + 1:
            ranges[-1][1] = number
        else:
            ranges.append([number, number])
    return ",".join(str(low) if low == high else f"{low}-{high}" for low, high in ranges)
