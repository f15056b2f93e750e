"""process_event gets samples of a simple layout by code of their own: the same, and as fresh."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from perf_files import USUAL, MadeRecording, written

from ptrace_client.errors import ClientError
from ptrace_client.perf_data.attr import EventKind, SampleType
from ptrace_client.perf_data.model import RecordKind
from ptrace_client.perf_data.recording import open_recording
from ptrace_client.perf_script.engine import run_recording
from ptrace_client.perf_script.options import DialectOptions
from ptrace_client.perf_script.sample_dict import SampleDicts
from ptrace_client.perf_script.script import PerfScript
from ptrace_client.perf_symbols.chains import Chains
from ptrace_client.perf_symbols.frames import Frame
from ptrace_client.perf_symbols.machine import open_machine
from ptrace_client.perf_symbols.maps import Maps
from ptrace_client.perf_symbols.model import Location, Symbol

KERNEL, USER, DAMAGED = (1 << 64) - 128, (1 << 64) - 512, (1 << 64) - 1000
LAST = (
    SampleType.DATA_SRC | SampleType.TRANSACTION | SampleType.PHYS_ADDR | SampleType.DATA_PAGE_SIZE
)
CHAIN = SampleType.CALLCHAIN


def run(tmp_path: Path, made: MadeRecording, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    monkeypatch.setitem(sys.modules, "perf_trace_context", sys.modules[__name__])
    seen: list[Any] = []
    recording = open_recording(written(tmp_path, made.file()))
    try:
        script = PerfScript("script.py", {"process_event": seen.append})
        run_recording(script, recording, open_machine(recording), DialectOptions())
    finally:
        recording.close()
    return seen


def mapped(made: MadeRecording, name: bytes, time: int) -> None:
    """Map a file, which is not there, at 0x1000."""
    body = made.pack("IIQQQ", 7, 7, 0x1000, 0x1000, 0) + name + b"\0" * (8 - len(name) % 8)
    made.record(RecordKind.MMAP, body + made.trailer(1, time), misc=2)


def chained(made: MadeRecording, time: int, *addresses: int, last: bytes = b"") -> None:
    tail = made.pack(f"{len(addresses) + 1}Q", len(addresses), *addresses)
    made.sample(1, time, tail=tail + last)


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize(
    ("kinds", "chain", "last"),
    [
        (USUAL, (), 0),
        (USUAL | CHAIN, (USER, 0x1008, 0x1010, 0x5000), 0),
        (USUAL | CHAIN, (KERNEL, 1 << 63, USER, 0x1008), 0),
        (USUAL | CHAIN, (USER, 0x1008, DAMAGED, 0x1010), 0),
        (USUAL | CHAIN | LAST, (USER, 0x1008), 4),
        (USUAL | CHAIN | SampleType.WEIGHT, (), 1),
        (USUAL | LAST, None, 4),
    ],
)
def test_a_simple_sample_is_as_any_other(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    order: str,
    kinds: SampleType,
    chain: tuple[int, ...] | None,
    last: int,
) -> None:
    made = MadeRecording(order)
    made.event(EventKind.SOFTWARE, 2, ids=(1,), sample_type=kinds, name="page-faults", period=3)
    mapped(made, b"/no/such/file", 5)
    words = made.pack(f"{last}Q", *range(0x5080021, 0x5080021 + last))
    for time in (10, 20):
        if kinds & CHAIN:
            chained(made, time, *(chain or ()), last=words)
        else:
            made.sample(1, time, tail=words)
    seen = run(tmp_path, made, monkeypatch)

    recording = open_recording(written(tmp_path, made.file()))
    machine, expected = open_machine(recording), []
    for record in recording.records():
        if record.event is None:
            machine.apply(record)
            continue
        sample = record.event.layout.sample(record.data, record.start, record.end, record.misc)
        make = SampleDicts(recording, machine).of_event(record.event)
        expected.append(make(sample, machine.callchain(sample)))
    recording.close()
    assert seen == expected
    assert len(seen) == 2
    assert [list(one) for one in seen] == [list(one) for one in expected]


def test_what_a_script_changes_is_as_recorded_in_the_next_sample(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = MadeRecording()
    made.event(ids=(1,), sample_type=USUAL | CHAIN, name="cpu-clock")
    mapped(made, b"/no/such/file", 5)
    for time in (10, 20):
        chained(made, time, USER, 0x1008)
    first, second = run(tmp_path, made, monkeypatch)

    assert first["callchain"] == second["callchain"] == [{"ip": 0x1008, "dso": "/no/such/file"}]
    assert first["callchain"][0] is not second["callchain"][0]
    first["brstack"].append(5)
    first["sample"]["values"].append(5)
    assert second["brstack"] == []
    assert second["sample"]["values"] == [(0, 0)]


def test_a_chain_is_told_anew_where_another_file_was_mapped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = MadeRecording()
    made.event(ids=(1,), sample_type=USUAL | CHAIN, name="cpu-clock")
    for time, name in ((5, b"/no/first"), (15, b"/no/second")):
        mapped(made, name, time)
        chained(made, time + 5, USER, 0x1008)
    seen = run(tmp_path, made, monkeypatch)

    assert [one["callchain"][0]["dso"] for one in seen] == ["/no/first", "/no/second"]
    assert [one["dso"] for one in seen] == ["/no/first", "/no/second"]


@pytest.mark.parametrize(
    ("kinds", "tail"),
    [
        (USUAL | CHAIN, b""),
        (USUAL | CHAIN, b"\5" + bytes(15)),
        (USUAL | CHAIN, b"\xff" * 8),
        (USUAL | SampleType.DATA_SRC, b""),
        (USUAL | CHAIN | SampleType.DATA_SRC, bytes(8)),
    ],
)
def test_a_sample_that_is_cut_off_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kinds: SampleType, tail: bytes
) -> None:
    made = MadeRecording()
    made.event(ids=(1,), sample_type=kinds, name="cpu-clock")
    made.sample(1, 10, tail=tail)
    with pytest.raises(ClientError, match="sample"):
        run(tmp_path, made, monkeypatch)


def test_symbols_of_a_chain_are_as_fresh_as_its_entries() -> None:
    frame = Frame(Location(0x1008, None, Symbol(0x1000, 0x1010, 1, "leaf"), 8), [])
    maps = Maps()
    chains = Chains(lambda addresses, pid, tid: [frame] * len(addresses), Maps(), "<")
    first = chains.entries(maps, bytes(16), 7, 7)
    first[0]["sym"]["name"] = "changed"
    del first[1]["sym"]

    second = chains.entries(maps, bytes(16), 7, 7)
    assert [entry["sym"]["name"] for entry in second] == ["leaf", "leaf"]
    assert second[0]["sym"] is not second[1]["sym"]
