"""Probes of files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ptraced.errors import Unavailable
from ptraced.origin import Probe
from ptraced.tracefs import EventFormat


def find_user_probes(
    kind: str,
    target: str,
    path: str,
    text: str,
    strings: Mapping[str, int],
    *,
    most: int,
    pids: Sequence[int],
) -> list[tuple[EventFormat, Probe]]:
    """Return the probes of a file that a target means."""
    raise Unavailable("error: probes of files are not available yet")
