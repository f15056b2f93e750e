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


def explain_user_refusal(format: EventFormat, probe: Probe, error: OSError) -> str:
    """Return the text of an error for a probe of a file that could not be attached."""
    return f"error: the kernel refuses {format.system}:{format.name}: {error.strerror}"
