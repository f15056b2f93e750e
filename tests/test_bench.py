"""The benchmarks run, and their page has numbers for ptraced."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from unprivileged import as_user

BENCH = Path(__file__).parents[1] / "bench" / "run"
NUMBER = re.compile(r"[+-]?\d+(\.\d+)?%?")


def rows(page: str, tool: str) -> list[list[str]]:
    """The cells of a tool's rows, over all tables."""
    lines = (line for line in page.splitlines() if line.startswith(f"| {tool} |"))
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_a_quick_run_has_numbers_for_every_handler(tmp_path: Path) -> None:
    page = tmp_path / "performance.md"
    command = [BENCH, "--quick", "--ours", "--output", page]
    ended = subprocess.run(command, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr

    *handlers, latency, wildcard = rows(page.read_text(), "ptraced")
    assert [cells[1] for cells in handlers] == ["count", "fields", "batch"]
    assert [len(cells) for cells in handlers] == [8, 8, 8]
    numbers = [cell for cells in handlers for cell in cells[2:]] + latency[1:] + wildcard[1:]
    (control,) = rows(page.read_text(), "list sessions")
    numbers += control[1:]
    assert [cell for cell in numbers if not NUMBER.fullmatch(cell)] == []
    assert "@" not in page.read_text()


def test_it_says_that_it_needs_root() -> None:
    ended = subprocess.run(as_user([BENCH, "--quick"]), capture_output=True, text=True)
    assert ended.stderr == "error: the benchmarks need root, as the other tools do\n"
    assert ended.returncode == 2
