"""Exports to databases have the rows that perf's have, in the same order."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from perf_files import USUAL, MadeRecording
from recordings import HERE, SHIPPED, Recorder
from sidebyside import first_difference, run_both, run_ours, run_perf, together

from ptrace_client.perf_data.attr import SampleType
from ptrace_client.perf_data.model import RecordKind

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


def _synthesized(order: str) -> bytes:
    """What perf would make from a trace of the hardware, among samples and switches."""
    made = MadeRecording(order)
    made.event(1 << 31, 0x1234, ids=(1,), sample_type=USUAL | SampleType.RAW, name="ptwrite")
    made.event(ids=(2,), name="cpu-clock")
    for tid, comm in ((7, b"one"), (9, b"two"), (0, b"swapper")):
        body = made.pack("II", 7 if tid else 0, tid) + comm.ljust(8, b"\0")
        made.record(RecordKind.COMM, body + made.trailer(2, 10 + tid, tid), misc=1 << 13)
    for time in range(100, 200, 20):
        made.sample(1, time, tail=made.raw(b"data%d" % time), tid=9)
        made.sample(2, time + 5)
        if order == "<":
            other = made.pack("II", 7, 9 if time < 150 else 0)
            switch = other + made.trailer(2, time + 9)
            made.record(RecordKind.SWITCH_CPU_WIDE, switch, misc=1 << 13)
    return made.file()


def _faults_of_threads() -> bytes:
    """Faults of threads, at addresses that nothing tells of; a switch from idle to a stranger."""
    made = MadeRecording()
    made.event(config=2, ids=(1,), sample_type=USUAL | SampleType.ADDR, name="page-faults")
    idle = made.pack("II", 0, 0) + b"swapper\0"
    made.record(RecordKind.COMM, idle + made.trailer(1, 10, 0))
    switch = made.pack("II", 5555, 5555) + made.trailer(1, 20, 0)
    made.record(RecordKind.SWITCH_CPU_WIDE, switch, misc=1 << 13)
    for time, tid in ((100, 30), (110, 300), (120, 20), (130, 512)):
        members = (1, 0x1000 + tid, tid, tid, time, 0x2000, 0, 0)
        made.record(RecordKind.SAMPLE, made.pack("QQIIQQII", *members), misc=2)
    return made.file()


def test_calls_of_threads_end_in_the_order_in_which_perf_keeps_threads(tmp_path: Path) -> None:
    path = tmp_path / "made.data"
    path.write_bytes(_faults_of_threads())

    perfs, ours = run_both(path, ROW_PRINTER, "calls")

    assert perfs.stdout.count("call_return (") == 4
    assert "context_switch" not in perfs.stdout
    difference = first_difference(perfs.stdout, ours.stdout)
    assert not difference, f"{difference}\n{ours.stderr}"


@pytest.mark.parametrize("order", ["<", ">"])
def test_data_of_traces_and_switches_between_threads_are_exported(
    tmp_path: Path, order: str
) -> None:
    path = tmp_path / "made.data"
    path.write_bytes(_synthesized(order))

    perfs, ours = run_both(path, ROW_PRINTER, "calls", "callchains")

    assert perfs.stdout.count("synth_data (") == 5
    difference = first_difference(perfs.stdout, ours.stdout)
    assert not difference, f"{difference}\n{ours.stderr}"


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
    path = recording(name)
    perfs, ours = together(
        lambda: run_perf(path, EXPORTER, str(tmp_path / "perf.db"), *args),
        lambda: run_ours(path, EXPORTER, str(tmp_path / "ours.db"), *args),
    )

    assert perfs.status == 0, perfs.stderr
    assert ours.status == 0, ours.stderr
    expected, found = _content(tmp_path / "perf.db"), _content(tmp_path / "ours.db")
    assert found.keys() == expected.keys()
    for table, rows in expected.items():
        assert found[table] == rows, table
    assert len(expected["samples"]) > 20
