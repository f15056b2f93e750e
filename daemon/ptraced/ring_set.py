"""The rings of a source, one per CPU, all of one size."""

from __future__ import annotations

import contextlib
import mmap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from ptraced.perf_event import Ring


@dataclass(frozen=True, slots=True)
class RingOptions:
    """Size in pages per CPU, and the bytes that wake the reader (0: every event).

    `smaller` allows fewer pages where the daemon may not lock that much memory.
    """

    pages: int
    watermark: int
    smaller: bool = False


# Fewer pages are no use: better an error.
_PAGES_MIN = 16

AnyRing = TypeVar("AnyRing", bound=Ring)


def open_rings(
    cpus: Sequence[int], options: RingOptions, open_ring: Callable[[int, int, int], AnyRing]
) -> tuple[list[AnyRing], int]:
    """Open a ring per CPU by open_ring(cpu, pages, watermark); returns them and their pages."""
    pages, watermark = options.pages, options.watermark
    while True:
        with contextlib.ExitStack() as undo:
            rings = []
            try:
                for cpu in cpus:
                    rings.append(open_ring(cpu, pages, watermark))
                    undo.callback(rings[-1].close)
                undo.pop_all()
                return rings, pages
            except PermissionError:
                # The kernel says so where it is too much to lock.
                if not options.smaller or pages <= _PAGES_MIN:
                    raise
        pages //= 2
        watermark = min(watermark, pages * mmap.PAGESIZE // 2)
