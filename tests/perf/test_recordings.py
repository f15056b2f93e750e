"""The recordings that the other tests rest on hold what they should."""

from __future__ import annotations

import subprocess

import pytest
from recordings import RECORDINGS, Recorder, perf

pytestmark = pytest.mark.needs_kernel("tracefs", "perf events")


@pytest.mark.parametrize("name", sorted(RECORDINGS))
def test_perf_reads_samples_from_every_recording(recording: Recorder, name: str) -> None:
    done = subprocess.run(
        [perf(), "script", "-i", recording(name), "-F", "event"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )

    assert len(done.stdout.splitlines()) > 20
