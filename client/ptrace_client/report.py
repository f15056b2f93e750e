"""Tables and histograms for scripts to print."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from ptrace_client.printing import terminal_safe

_BAR = 50


def print_table(head: Sequence[str], rows: Iterable[Sequence[str | float]]) -> None:
    """Print rows below a line of heads: text to the left, numbers to the right.

    Floating-point numbers get one decimal. Control characters, such as a stranger may have put
    into a file's name, are shown escaped.

    >>> print_table(("COMM", "CALLS", "US"), [("bash", 12, 3.14), ("python3", 7, 10.0)])
    COMM     CALLS    US
    bash        12   3.1
    python3      7  10.0
    """
    table = list(rows)
    lines = [list(head), *([_cell(value) for value in row] for row in table)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    texts = [
        not table or any(isinstance(value, str) for value in column)
        for column in (zip(*table, strict=True) if table else [()] * len(head))
    ]
    for line in lines:
        cells = (
            cell.ljust(width) if text else cell.rjust(width)
            for cell, width, text in zip(line, widths, texts, strict=True)
        )
        print("  ".join(cells).rstrip())


def print_histogram(powers: Mapping[int, int], unit: str) -> None:
    """Print how often values had each `int.bit_length()`: counts by powers of two, and bars.

    A line tells the smallest value that it counts.

    >>> print_histogram({0: 1, 2: 10, 3: 5}, "us")
           0 us        1 |#####
           1 us        0 |
           2 us       10 |##################################################
           4 us        5 |#########################
    """
    largest = max(powers.values(), default=0)
    for power in range(min(powers, default=0), max(powers, default=-1) + 1):
        count = powers.get(power, 0)
        print(f"{(1 << power) >> 1:8} {unit} {count:8} |{'#' * (count * _BAR // largest)}")


def percentile(ordered: Sequence[float], share: float) -> float:
    """Return the value below which `share` (0 to 1) of the values are, which are in order."""
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)]


def one_line(text: str) -> str:
    """Return `text` with control characters written as \\xNN, \\n and \\t."""
    return terminal_safe(text).replace("\n", "\\n").replace("\t", "\\t")


def _cell(value: str | float) -> str:
    if isinstance(value, str):
        return one_line(value)
    return f"{value:.1f}" if isinstance(value, float) else str(value)
