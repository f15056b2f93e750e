"""Recordings of real perf, read and written by us: perf gets the same out of both."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from recordings import SHIPPED, Recorder, clean_environment, perf
from rewriting import rewrite
from sidebyside import Run, run_perf, together

pytestmark = pytest.mark.needs_kernel("tracefs", "perf events", "uprobes")
# One with each kind of sample that perf makes here.
NAMES = (
    *("systems", "syscalls", "fault-stacks", "physical", "page-sizes", "switches", "groups"),
    *("registers", "options", "reads", "sparse", "compressed", "piped", "uprobes"),
)
EVERY_CALLBACK = Path(__file__).with_name("recorder.py")


def printed(recording: Path, *options: str) -> str:
    """What `perf script` prints of a recording, with tasks and mappings."""
    shown = "--show-task-events", "--show-mmap-events", "--show-lost-events"
    done = subprocess.run(
        [perf(), "script", "-i", recording, *shown, *options],
        env=clean_environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return done.stdout


@pytest.mark.parametrize("name", NAMES)
def test_perf_prints_the_same_of_both(recording: Recorder, tmp_path: Path, name: str) -> None:
    again = tmp_path / "again.data"
    rewrite(recording(name), again)

    assert printed(again) == printed(recording(name))


@pytest.mark.parametrize("name", ["fault-stacks", "groups"])
def test_perfs_scripts_get_the_same_callbacks(
    recording: Recorder, tmp_path: Path, name: str
) -> None:
    again = tmp_path / "again.data"
    rewrite(recording(name), again)

    ours, perfs = _under_perf(again, recording(name), EVERY_CALLBACK)
    assert ours.stdout == perfs.stdout
    assert ours.status == 0


@pytest.mark.parametrize("name", ["fault-stacks", "stacks"])
def test_stacks_collapse_to_the_same(recording: Recorder, tmp_path: Path, name: str) -> None:
    again = tmp_path / "again.data"
    rewrite(recording(name), again)
    script = SHIPPED / "stackcollapse.py"

    ours, perfs = _under_perf(again, recording(name), script)
    assert ours.stdout == perfs.stdout != ""


def _under_perf(ours: Path, perfs: Path, script: Path) -> tuple[Run, Run]:
    """What perf makes of both recordings."""
    return together(lambda: run_perf(ours, script), lambda: run_perf(perfs, script))
