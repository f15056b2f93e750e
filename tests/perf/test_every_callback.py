"""A script that prints every callback prints the same under perf and under ptrace-client."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from recordings import HERE, RECORDINGS, Recorder, clean_environment, perf
from sidebyside import CLIENT, TIMEOUT, first_difference, run_both, run_perf

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
    # Instructions of BPF programs, which perf also records, are known to perf alone.
    functions = () if name == "system-wide" else ("functions",)
    difference = _differ(recording(name), *functions)

    assert not difference, difference


@pytest.mark.parametrize("name", ["stacks", "uprobes", "faults"])
def test_source_lines_are_those_that_perf_tells(recording: Recorder, name: str) -> None:
    difference = _differ(recording(name), "functions", "lines")

    assert not difference, difference


def test_scripts_run_while_perf_still_records(recording: Recorder, tmp_path: Path) -> None:
    record = f"{perf()} record -q -N -o - -e raw_syscalls:sys_enter,cpu-clock"
    program = f"{recording.workload} calls 300 spin 20 children 3"
    ours = subprocess.run(
        f"{record} -- {program} | tee pipe.data | {CLIENT} run -i - {RECORDER}",
        shell=True,
        cwd=tmp_path,
        env=clean_environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
    )

    perfs = run_perf(tmp_path / "pipe.data", RECORDER)

    assert perfs.stdout.count("\nraw_syscalls__sys_enter ") > 300
    difference = first_difference(perfs.stdout, ours.stdout)
    assert not difference, f"{difference}\n{ours.stderr}"
