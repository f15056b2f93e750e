"""The garbage collector of Python while events wait for their turn."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator

# Objects that may be new before it runs.
_NEW_OBJECTS = 50_000


@contextlib.contextmanager
def calm_collector() -> Iterator[None]:
    """Keep the garbage collector from looking through events that wait too often.

    With Python's own threshold it takes a third of the time of ordered events. What there is
    beforehand, modules mostly, it does not look through at all; where somebody has seen to that,
    for longer, it is left so.
    """
    threshold = gc.get_threshold()
    gc.set_threshold(_NEW_OBJECTS, *threshold[1:])
    freezes = not gc.get_freeze_count()
    if freezes:
        gc.freeze()
    try:
        yield
    finally:
        if freezes:
            gc.unfreeze()
        gc.set_threshold(*threshold)
