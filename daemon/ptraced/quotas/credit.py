"""The credit of a source whose user's rate is limited, and what it counted beyond."""

from __future__ import annotations

from collections.abc import Mapping

from ptraced.bpf_maps import Map
from ptraced.loss_counts import LossCounts, LostEvents
from ptraced.program import throttle_stride


class Credit:
    """The maps of bpf/rate.c, shared with the kernel."""

    def __init__(self, maps: Mapping[str, Map], events: int) -> None:
        self._left = maps["credit"].mapped()
        memory = maps["throttled"].mapped()
        self._counts = LossCounts(memory, throttle_stride(events), cpus_first=True)

    def set(self, hits: int) -> None:
        """Let so many hits be submitted from now on."""
        self._left[:8] = hits.to_bytes(8, "little")

    def throttled(self) -> list[LostEvents]:
        """Hits beyond since the last call, by event and CPU."""
        return self._counts.new()
