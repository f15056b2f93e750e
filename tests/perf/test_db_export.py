"""Exports to databases have the rows that perf's have, in the same order."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from recordings import HERE, SHIPPED, Recorder
from sidebyside import first_difference, run_both, run_ours, run_perf

pytestmark = pytest.mark.needs_kernel("tracefs", "perf events")

ROW_PRINTER = HERE / "rowprinter.py"
EXPORTER = SHIPPED / "export-to-sqlite.py"


def _content(database: Path) -> dict[str, list[object]]:
    """The rows of every table and view by its name."""
    with sqlite3.connect(database) as connection:
        names = connection.execute("SELECT name FROM sqlite_master WHERE type != 'index'")
        return {
            name: connection.execute(f"SELECT * FROM {name}").fetchall()
            for (name,) in names.fetchall()
        }


@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("stacks", ()),
        ("stacks", ("callchains",)),
        ("stacks", ("calls", "callchains")),
        ("fault-stacks", ("calls", "callchains")),
        ("faults", ("calls",)),
        ("groups", ()),
        ("options", ("callchains",)),
        ("sparse", ()),
        ("switches", ()),
        ("system-wide", ("calls", "callchains")),
        ("piped", ()),
    ],
    ids=lambda part: part if isinstance(part, str) else "+".join(part),
)
def test_scripts_get_the_rows_that_perf_gives(
    recording: Recorder, name: str, args: tuple[str, ...]
) -> None:
    perfs, ours = run_both(recording(name), ROW_PRINTER, *args)

    assert perfs.status == 0, perfs.stderr
    assert "sample (1, " in perfs.stdout
    difference = first_difference(perfs.stdout, ours.stdout)
    assert not difference, f"{difference}\n{ours.stderr}"
    assert ours.status == 0, ours.stderr


@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("stacks", ()),
        ("stacks", ("all", "calls", "callchains")),
        ("fault-stacks", ("all", "calls", "callchains")),
        ("faults", ("branches", "calls")),
    ],
    ids=lambda part: part if isinstance(part, str) else "+".join(part),
)
def test_sqlite_databases_are_the_same_table_by_table(
    recording: Recorder, tmp_path: Path, name: str, args: tuple[str, ...]
) -> None:
    perfs = run_perf(recording(name), EXPORTER, str(tmp_path / "perf.db"), *args)
    ours = run_ours(recording(name), EXPORTER, str(tmp_path / "ours.db"), *args)

    assert perfs.status == 0, perfs.stderr
    assert ours.status == 0, ours.stderr
    expected, found = _content(tmp_path / "perf.db"), _content(tmp_path / "ours.db")
    assert found.keys() == expected.keys()
    for table, rows in expected.items():
        assert found[table] == rows, table
    assert len(expected["samples"]) > 20
