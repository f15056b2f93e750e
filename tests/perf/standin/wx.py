"""In place of wxPython, for where there is no display: tells that a window would be served."""

from __future__ import annotations

from typing import Any

SOLID, EVT_PAINT, EVT_KEY_DOWN, EVT_LEFT_DOWN, SIZE_USE_EXISTING = range(5)
WXK_LEFT, WXK_RIGHT, WXK_UP, WXK_DOWN = range(10, 14)

_titles: list[str] = []


class _Anything:
    def __init__(self, *arguments: Any, **options: Any) -> None:
        pass

    def __getattr__(self, name: str) -> Any:
        return lambda *arguments, **options: None


class Frame(_Anything):
    def __init__(self, parent: Any, id: int, title: str) -> None:
        _titles.append(title)


class App(_Anything):
    def MainLoop(self) -> None:  # noqa: N802
        print("windows:", *_titles)


Brush = Colour = PaintDC = Panel = ScrolledWindow = StaticText = _Anything


def GetDisplaySize() -> tuple[int, int]:  # noqa: N802
    return 1000, 800
