"""A window with a row of rectangles for each CPU, which sched-migration draws in.

It needs wxPython 4. Keys: + and - for more and less detail, arrows to move; a click describes
what is there.
"""

from __future__ import annotations as _annotations

from typing import Any as _Any

try:
    import wx
except ImportError:
    raise ImportError(
        "this script shows a window, which needs wxPython "
        "(Debian: python3-wxgtk4.0; PyPI: wxPython) and a display"
    ) from None

_NS_PER_US = 1000
# Pixels per us at first.
_ZOOM = 0.5
_SCROLL_PIXELS = 20
# What the borders of the screen take.
_MARGIN = 10
_SCROLL_BAR = 15
_SUMMARY_SPACE = 50

_Color = tuple[int, int, int]


class RootFrame(wx.Frame):  # type: ignore[misc]
    """The window. It opens at once; wx.App's main loop then serves it.

    `sched_tracer` says what to draw: interval() returns the first and the last time in ns,
    nr_rectangles() the highest row, fill_zone(start, end) paints what lies between two times by
    calls of paint_rectangle_zone(), mouse_down(row, time) tells what is there by
    update_summary(). It gets the window by set_root_win() first.
    """

    Y_OFFSET = 100
    RECT_HEIGHT = 100
    RECT_SPACE = 50
    EVENT_MARKING_WIDTH = 5

    def __init__(self, sched_tracer: _Any, title: str, parent: _Any = None, id: int = -1) -> None:
        super().__init__(parent, id, title)
        width, height = wx.GetDisplaySize()
        self.screen_width, self.screen_height = width - _MARGIN, height - _MARGIN
        self.zoom = _ZOOM
        self.scroll_scale = _SCROLL_PIXELS
        self.sched_tracer = sched_tracer
        sched_tracer.set_root_win(self)
        self.ts_start, self.ts_end = sched_tracer.interval()
        self.nr_rects = sched_tracer.nr_rectangles() + 1
        self.height_virtual = self.Y_OFFSET + self.nr_rects * (self.RECT_HEIGHT + self.RECT_SPACE)
        self.update_width_virtual()
        self.txt: _Any = None
        self.dc: _Any = None
        self._make_panels()
        self.Fit()
        self.Show(True)

    def _make_panels(self) -> None:
        """Put a drawing area into one that scrolls, and that into the window's own panel."""
        self.panel = wx.Panel(self, size=(self.screen_width, self.screen_height))
        self.scroll = wx.ScrolledWindow(self.panel)
        self._set_scrollbars(0, 0)
        self.scroll.EnableScrolling(True, True)
        self.scroll.SetFocus()
        size = (self.screen_width - _SCROLL_BAR, self.screen_height // 2)
        self.scroll_panel = wx.Panel(self.scroll, size=size)
        self.scroll_panel.Bind(wx.EVT_PAINT, self.on_paint)
        for area in self.scroll_panel, self.scroll:
            area.Bind(wx.EVT_LEFT_DOWN, self.on_mouse_down)
            area.Bind(wx.EVT_KEY_DOWN, self.on_key_press)
        self.scroll.Fit()
        self._size_drawing()

    def _size_drawing(self) -> None:
        self.scroll_panel.SetSize(int(self.width_virtual), self.height_virtual)

    def _set_scrollbars(self, x: int, y: int) -> None:
        """Fit the scroll bars to the drawing; (x, y), in their units, comes to the left."""
        step = self.scroll_scale
        wide, high = int(self.width_virtual) // step, self.height_virtual // step
        self.scroll.SetScrollbars(step, step, wide, high, x, y)

    def us_to_px(self, val: float) -> float:
        """Return how many pixels wide a time in ns is."""
        return val / _NS_PER_US * self.zoom

    def px_to_us(self, val: float) -> float:
        """Return the time in ns that so many pixels show."""
        return val / self.zoom * _NS_PER_US

    def scroll_start(self) -> tuple[int, int]:
        """Return the pixel of the drawing that is in the upper left corner."""
        x, y = self.scroll.GetViewStart()
        return x * self.scroll_scale, y * self.scroll_scale

    def scroll_start_us(self) -> float:
        """Return the time in ns, since the start, at the left border."""
        return self.px_to_us(self.scroll_start()[0])

    def paint_rectangle_zone(
        self, nr: int, color: _Color, top_color: _Color | None, start: float, end: float
    ) -> None:
        """Fill the time from `start` to `end`, ns, in row `nr`; `top_color` marks its upper rim."""
        left, width = self.us_to_px(start - self.ts_start), self.us_to_px(end - start)
        top = self.Y_OFFSET + nr * (self.RECT_HEIGHT + self.RECT_SPACE)
        height = self.RECT_HEIGHT
        if top_color is not None:
            self._fill(top_color, left, top, width, self.EVENT_MARKING_WIDTH)
            top += self.EVENT_MARKING_WIDTH
            height -= self.EVENT_MARKING_WIDTH
        self._fill(color, left, top, width, height)

    def _fill(self, color: _Color, left: float, top: int, width: float, height: int) -> None:
        self.dc.SetBrush(wx.Brush(wx.Colour(*color), wx.SOLID))
        self.dc.DrawRectangle(int(left), top, int(width), height)

    def update_rectangles(self, dc: _Any, start: float, end: float) -> None:
        """Paint what lies between two times, ns since the start."""
        self.sched_tracer.fill_zone(start + self.ts_start, end + self.ts_start)

    def on_paint(self, event: _Any) -> None:
        """Paint what is visible."""
        self.dc = wx.PaintDC(self.scroll_panel)
        left, _ = self.scroll_start()
        width = min(self.width_virtual, self.screen_width)
        self.update_rectangles(self.dc, self.px_to_us(left), self.px_to_us(left + width))

    def rect_from_ypixel(self, y: int) -> int:
        """Return the row at a height, -1 between rows and outside."""
        row, place = divmod(y - self.Y_OFFSET, self.RECT_HEIGHT + self.RECT_SPACE)
        return row if 0 <= row < self.nr_rects and place <= self.RECT_HEIGHT else -1

    def update_summary(self, txt: str) -> None:
        """Show a text below the drawing, in place of the one before."""
        if self.txt:
            self.txt.Destroy()
        place = (0, self.screen_height // 2 + _SUMMARY_SPACE)
        self.txt = wx.StaticText(self.panel, -1, txt, place)

    def on_mouse_down(self, event: _Any) -> None:
        """Have the tracer describe what was clicked at."""
        x, y = event.GetPosition()
        row = self.rect_from_ypixel(y)
        if row != -1:
            self.sched_tracer.mouse_down(row, self.px_to_us(x) + self.ts_start)

    def update_width_virtual(self) -> None:
        """Work out how many pixels wide all of it is."""
        self.width_virtual = self.us_to_px(self.ts_end - self.ts_start)

    def _zoom_by(self, factor: float) -> None:
        time = self.scroll_start_us()
        self.zoom *= factor
        self.update_width_virtual()
        _, y = self.scroll.GetViewStart()
        self._set_scrollbars(int(self.us_to_px(time)) // self.scroll_scale, y)
        self._size_drawing()
        self.Refresh()

    def zoom_in(self) -> None:
        """Show half of the time in twice the width."""
        self._zoom_by(2)

    def zoom_out(self) -> None:
        """Show twice the time."""
        self._zoom_by(0.5)

    def on_key_press(self, event: _Any) -> None:
        """Zoom or move."""
        if zoom := {"+": self.zoom_in, "-": self.zoom_out}.get(chr(event.GetUnicodeKey())):
            zoom()
            return
        steps = {
            wx.WXK_LEFT: (-1, 0),
            wx.WXK_RIGHT: (1, 0),
            wx.WXK_UP: (0, -1),
            wx.WXK_DOWN: (0, 1),
        }
        if (step := steps.get(event.GetKeyCode())) is not None:
            x, y = self.scroll.GetViewStart()
            self.scroll.Scroll(x + step[0], y + step[1])
