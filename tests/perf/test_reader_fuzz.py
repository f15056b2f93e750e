"""What real perf recorded, damaged in many ways, is read or told, with little memory and time."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from recordings import Recorder

FUZZ = Path(__file__).parents[1] / "client/perf_fuzz.py"


@pytest.mark.needs_kernel("tracefs", "perf events")
def test_mutants_of_real_recordings(recording: Recorder) -> None:
    paths = [str(recording(name)) for name in ("stacks", "registers", "stat", "compressed")]
    done = subprocess.run(
        [sys.executable, FUZZ, *paths], capture_output=True, text=True, timeout=200
    )
    assert (done.stdout, done.stderr) == ("survived\n", "")
