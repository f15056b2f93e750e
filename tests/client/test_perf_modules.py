"""The modules that scripts for `perf script` import, by themselves."""

from __future__ import annotations

import errno
import subprocess
import sys
from pathlib import Path

import ptrace_client
from ptrace_client.linux_errors import LISTED

TRACE = Path(ptrace_client.__file__).parent / (
    "perf_exec/scripts/python/Perf-Trace-Util/lib/Perf/Trace"
)


def run(text: str) -> str:
    """Return what a program prints that finds the modules as scripts do."""
    program = f"import sys; sys.path.append({str(TRACE)!r})\n{text}"
    return subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout


def test_system_calls_are_named_for_the_host_that_was_traced() -> None:
    text = """
from Util import syscall_name
from ptrace_client.syscall_names import set_traced_machine
for machine in "x86_64", "aarch64", "s390x":
    set_traced_machine(machine)
    print(syscall_name(56), syscall_name(17), syscall_name(1023))
"""
    assert run(text) == "clone pread 1023\nopenat getcwd 1023\n56 17 1023\n"


def test_nothing_is_said_about_missing_libraries() -> None:
    assert run("import Util, Core") == ""


def test_the_audit_modules_interface() -> None:
    text = """
import audit
for machine in audit.MACH_86_64, audit.MACH_AARCH64, audit.MACH_X86, 99:
    print(audit.audit_syscall_to_name(1, machine), audit.audit_syscall_to_name(1023, machine))
"""
    # Without the modules of the system, where the library's own may be.
    hidden = "sys.path[:] = [p for p in sys.path if not p.startswith('/usr/lib/python3/')]\n"
    assert run(hidden + text) == "write None\nio_destroy None\nexit None\nNone None\n"


def test_errors_are_those_of_linux() -> None:
    assert {number: errno.errorcode[number] for number in LISTED} == LISTED
    assert len(LISTED) >= 130


class TestSchedGui:
    def test_without_wx(self) -> None:
        text = """
sys.modules["wx"] = None
try:
    import SchedGui
except ImportError as error:
    print(error)
"""
        assert run(text) == (
            "this script shows a window, which needs wxPython "
            "(Debian: python3-wxgtk4.0; PyPI: wxPython) and a display\n"
        )

    def test_drawing_and_moving(self) -> None:
        """What it draws and where it scrolls to; windows are wx's affair."""
        text = """
from unittest.mock import MagicMock
wx = MagicMock()
wx.Frame = type("Frame", (), dict.fromkeys(["__init__", "Fit", "Show", "Refresh"], lambda *_: None))
wx.GetDisplaySize.return_value = 1010, 610
wx.ScrolledWindow.return_value.GetViewStart.return_value = 5, 1
wx.WXK_LEFT, wx.WXK_RIGHT, wx.WXK_UP, wx.WXK_DOWN = 1, 2, 3, 4
sys.modules["wx"] = wx
from SchedGui import RootFrame

class Tracer:
    def set_root_win(self, window): self.window = window
    def interval(self): return 1_000_000, 3_000_000
    def nr_rectangles(self): return 1
    def mouse_down(self, row, time): print("row", row, "at", time)
    def fill_zone(self, start, end):
        print("from", start, "to", end)
        self.window.paint_rectangle_zone(0, (255, 0, 0), None, 1_000_000, 2_000_000)
        self.window.paint_rectangle_zone(1, (9, 9, 9), (0, 0, 255), 2_000_000, 3_000_000)

frame = RootFrame(Tracer(), "title")
frame.on_paint(None)
print(*(call.args for call in wx.PaintDC.return_value.DrawRectangle.call_args_list), sep="\\n")
print([call.args for call in wx.Colour.call_args_list])
for y in 99, 100, 200, 220, 250, 400, 401:
    event = MagicMock()
    event.GetPosition.return_value = 100, y
    frame.on_mouse_down(event)
for key, sign in (0, "+"), (0, "-"), (2, "x"), (4, "x"), (7, "x"):
    event = MagicMock()
    event.GetKeyCode.return_value, event.GetUnicodeKey.return_value = key, ord(sign)
    frame.on_key_press(event)
    print(sign, frame.zoom, frame.width_virtual)
print([call.args for call in frame.scroll.SetScrollbars.call_args_list])
print([call.args for call in frame.scroll.Scroll.call_args_list])
"""
        assert run(text).splitlines() == [
            # 100 pixels from the left, at half a pixel a us; as wide as all of it.
            "from 1200000.0 to 3200000.0",
            "(0, 100, 500, 100)",
            "(500, 250, 500, 5)",
            "(500, 255, 500, 95)",
            "[(255, 0, 0), (0, 0, 255), (9, 9, 9)]",
            "row 0 at 1200000.0",
            "row 0 at 1200000.0",
            "row 1 at 1200000.0",
            "+ 1.0 2000.0",
            "- 0.5 1000.0",
            "x 0.5 1000.0",
            "x 0.5 1000.0",
            "x 0.5 1000.0",
            "[(20, 20, 50, 20, 0, 0), (20, 20, 100, 20, 10, 1), (20, 20, 50, 20, 2, 1)]",
            "[(6, 1), (5, 2)]",
        ]
