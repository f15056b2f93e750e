"""No recording, however damaged, makes more than an error of it: no crash, no hang, no bomb."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import perf_fuzz
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from perf_files import HOSTNAME, MadeRecording, two_events, wakeup_raw, written
from perf_fuzz import NUMBERS, WIDTHS, read_all
from test_perf_data_records import CASES
from zstandard import ZstdCompressor

from ptrace_client.perf_data.attr import SampleType
from ptrace_client.perf_data.model import RecordKind


def varied(order: str) -> MadeRecording:
    """Returns a recording with a record of each kind."""
    made = two_events(order)
    made.sample(11, 30, tail=wakeup_raw(made, 5))
    for kind, misc, codes, values, _ in CASES:
        if kind not in (RecordKind.AUXTRACE, RecordKind.HEADER_TRACING_DATA):
            content = made.pack(codes, *values)
            made.record(kind, content + made.trailer(21, 20), misc)
    made.record(RecordKind.FINISHED_ROUND)
    made.sample(21, 40)
    made.record(RecordKind.EVENT_UPDATE, made.pack("QQd", 1, 21, 0.5))
    return made


def rich(order: str) -> MadeRecording:
    """Returns a recording whose samples have members of all sizes."""
    made = MadeRecording(order)
    kinds = SampleType.TIME | SampleType.READ | SampleType.CALLCHAIN | SampleType.RAW
    kinds |= SampleType.BRANCH_STACK | SampleType.REGS_USER | SampleType.STACK_USER
    made.event(sample_type=kinds | SampleType.AUX, read_format=8, regs_user=3)
    made.features[HOSTNAME] = made.text("wolke")
    for time in (30, 20):
        parts = [made.pack("QQQQ", time, 1, 5, 6), made.pack("QQ", 1, 9), made.raw(b"1234")]
        parts += [made.pack("QQQQ", 1, 2, 3, 4), made.pack("QQQ", 1, 2, 3)]
        parts += [made.pack("QQQ", 8, 1, 8), made.pack("QQ", 8, 1)]
        made.record(9, b"".join(parts))
    return made


def pressed(order: str) -> MadeRecording:
    """Returns one whose records are compressed."""
    made = varied(order)
    content = ZstdCompressor().compress(b"".join(made.records))
    made.records = [made.pack("IHH", 81, 0, 8 + len(content)) + content]
    return made


SEEDS: dict[str, Callable[[], bytes]] = {
    f"{make.__name__}{order}{kind}": lambda make=make, order=order, kind=kind: (  # type: ignore[misc]
        getattr(make(order), kind)()
    )
    for make in (varied, rich, pressed)
    for order in "<>"
    for kind in ("file", "pipe")
}


@pytest.mark.parametrize("seed", SEEDS)
def test_whole_recordings_are_read(tmp_path: Path, seed: str) -> None:
    assert read_all(written(tmp_path, SEEDS[seed]())) >= 2


@pytest.mark.parametrize("seed", SEEDS)
def test_recordings_cut_at_each_place(tmp_path: Path, seed: str) -> None:
    content = SEEDS[seed]()
    for size in range(0, len(content), 11):
        read_all(written(tmp_path, content[:size]))


@given(
    seed=st.sampled_from(sorted(SEEDS)),
    changes=st.lists(
        st.tuples(
            st.floats(0, 1, exclude_max=True),
            st.sampled_from(WIDTHS),
            st.sampled_from(NUMBERS) | st.integers(0, (1 << 64) - 1),
            st.sampled_from(("little", "big")),
        ),
        min_size=1,
        max_size=4,
    ),
)
@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_recordings_that_lie(
    tmp_path: Path, seed: str, changes: list[tuple[float, int, int, str]]
) -> None:
    content = bytearray(SEEDS[seed]())
    for where, width, number, order in changes:
        # Numbers lie where their width divides the place, mostly.
        place = int(where * len(content)) // width * width
        content[place : place + width] = (number & (1 << width * 8) - 1).to_bytes(
            width,
            order,  # type: ignore[arg-type]
        )
    read_all(written(tmp_path, bytes(content)))


@given(content=st.binary(max_size=200), head=st.sampled_from((b"PERFILE2", b"2ELIFREP", b"")))
@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_bytes(tmp_path: Path, content: bytes, head: bytes) -> None:
    read_all(written(tmp_path, head + content))


def test_mutants_cost_little_memory_and_time(tmp_path: Path) -> None:
    paths = [written(tmp_path, make(), str(place)) for place, make in enumerate(SEEDS.values())]
    done = subprocess.run(
        [sys.executable, perf_fuzz.__file__, *paths], capture_output=True, text=True, timeout=120
    )
    assert (done.stdout, done.stderr) == ("survived\n", "")
