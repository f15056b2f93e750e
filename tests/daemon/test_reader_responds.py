"""Whether the reader makes its rounds is known, and a stuck one noticed."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

from ptraced.reader import Reader


def test_a_reader_with_nothing_to_read_responds_and_a_stuck_one_does_not() -> None:
    stuck, entered = threading.Event(), threading.Event()

    def trim() -> None:
        entered.set()
        assert stuck.wait(60)

    stacks: Any = SimpleNamespace(trim=lambda: None)
    reader = Reader(1.0, stacks, SimpleNamespace(catch_up=lambda: None))  # type: ignore[arg-type]
    try:
        assert reader.responds(60)
        stacks.trim = trim
        assert not reader.responds(0.05)
        assert entered.wait(60)
    finally:
        stuck.set()
        assert reader.responds(60)
        reader.close()
