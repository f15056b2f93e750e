"""Makes the kernel do more of everything than tests/kernel/activity.py: `tour.py DIRECTORY`.

Needs root. What it makes it removes.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import runpy
import socket
import sys
from pathlib import Path
from typing import Final

ACTIVITY: Final = Path(__file__).parent.parent / "kernel/activity.py"
_CLOCK_BOOTTIME_ALARM: Final = 9


def use_alarm_timer() -> None:
    """Start a timer that would wake the machine up, and let it go."""
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = libc.timerfd_create(_CLOCK_BOOTTIME_ALARM, 0)
    if descriptor < 0:
        return
    # struct itimerspec: no interval, 100 s.
    libc.timerfd_settime(descriptor, 0, (ctypes.c_long * 4)(0, 0, 100, 0), None)
    os.close(descriptor)


def use_locks(directory: Path) -> None:
    with (directory / "locked").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        fcntl.flock(file, fcntl.LOCK_UN)
        fcntl.lockf(file, fcntl.LOCK_EX)
    (directory / "locked").unlink()


def use_cgroups() -> None:
    for root in (Path("/sys/fs/cgroup/unified"), Path("/sys/fs/cgroup")):
        with contextlib.suppress(OSError):
            group = root / f"tour{os.getpid()}"
            group.mkdir()
            group.rmdir()
            return


def drop_packets() -> None:
    """Send to a port that nobody listens to."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as unheard:
        unheard.bind(("127.0.0.1", 0))
        closed = unheard.getsockname()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for _ in range(3):
            sender.sendto(b"nobody hears it", closed)


def use_memory_management() -> None:
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("10")
    with contextlib.suppress(OSError):
        Path("/proc/sys/vm/compact_memory").write_text("1")


if __name__ == "__main__":
    place = Path(sys.argv[1])
    use_alarm_timer()
    use_locks(place)
    use_cgroups()
    drop_packets()
    use_memory_management()
    runpy.run_path(str(ACTIVITY), run_name="__main__")
