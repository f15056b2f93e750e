"""The recordings that the other tests rest on hold what they should."""

from __future__ import annotations

import subprocess

import pytest
from recordings import RECORDINGS, Recorder, perf

pytestmark = pytest.mark.needs_kernel("tracefs", "perf events", "uprobes")


def _printed(recording: Recorder, name: str, *options: str) -> list[str]:
    """The lines of `perf script` over a recording."""
    done = subprocess.run(
        [perf(), "script", "-i", recording(name), *options],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return done.stdout.splitlines()


@pytest.mark.parametrize("name", sorted(RECORDINGS))
def test_perf_reads_events_from_every_recording(recording: Recorder, name: str) -> None:
    assert len(_printed(recording, name)) > 2


def test_one_recording_is_of_25_systems(recording: Recorder) -> None:
    events = _printed(recording, "systems", "-F", "event")

    assert len({event.strip().partition(":")[0] for event in events}) >= 25
