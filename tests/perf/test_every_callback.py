"""A script that prints every callback prints the same under perf and under ptrace-client."""

from __future__ import annotations

from pathlib import Path

import pytest
from recordings import HERE, RECORDINGS, Recorder
from sidebyside import first_difference, run_both

pytestmark = pytest.mark.needs_kernel("tracefs", "perf events", "uprobes")

RECORDER = HERE / "recorder.py"


def _differ(recording: Path, *args: str) -> str:
    perfs, ours = run_both(recording, RECORDER, *args)
    assert perfs.status == 0, perfs.stderr
    assert len(perfs.stdout.splitlines()) > 5
    assert ours.status == 0, ours.stderr
    return first_difference(perfs.stdout, ours.stdout)


@pytest.mark.parametrize("name", sorted(RECORDINGS))
def test_all_callbacks_have_the_arguments_that_perf_gives(recording: Recorder, name: str) -> None:
    difference = _differ(recording(name), "functions")

    assert not difference, difference


@pytest.mark.parametrize("name", ["stacks", "uprobes", "faults"])
def test_source_lines_are_those_that_perf_tells(recording: Recorder, name: str) -> None:
    difference = _differ(recording(name), "functions", "lines")

    assert not difference, difference
