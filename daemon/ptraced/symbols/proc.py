"""What /proc tells of a process: its memory, its owner, where it sees files."""

from __future__ import annotations

import os
import re
import time
from typing import NamedTuple

# Bytes of a file in /proc that are read at most.
_READ_MAX = 64 << 20
_LINE = re.compile(
    rb"([0-9a-f]+)-([0-9a-f]+) (....) ([0-9a-f]+) ([0-9a-f]+):([0-9a-f]+) (\d+) *(.*)"
)
_TICK = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
_OCTAL = re.compile(r"\\([0-7]{3})")


class Mapped(NamedTuple):
    """A line of /proc/PID/maps."""

    start: int
    end: int
    offset: int
    identity: tuple[int, int] | None
    path: str


class Owner(NamedTuple):
    """Whose a process is: effective user id; and its number in its own pid namespace."""

    uid: int
    own_pid: int


def read(path: str) -> bytes:
    """A file of /proc; OSError where it cannot be read or the process is gone."""
    with open(path, "rb", buffering=0) as file:
        parts = []
        size = 0
        while size < _READ_MAX and (part := file.read(1 << 18)):
            parts.append(part)
            size += len(part)
    return b"".join(parts)


def executable_memory(pid: int) -> list[Mapped]:
    """The mappings of a process that it may run code in; see memory()."""
    return memory(pid, rb"..x.")


def memory(pid: int, permissions: bytes = rb"....") -> list[Mapped]:
    """The mappings of a process whose permissions, such as "r-xp", match a regular expression.

    Needs CAP_PERFMON; before the kernel's commit "mm,procfs: allow read-only remote mm access
    under CAP_PERFMON" CAP_SYS_PTRACE, where the process is another user's.
    """
    found = []
    wanted = re.compile(permissions)
    for line in read(f"/proc/{pid}/maps").split(b"\n"):
        match = _LINE.fullmatch(line)
        if match and wanted.fullmatch(match[3]):
            start, end, offset, major, minor = (int(match[g], 16) for g in (1, 2, 4, 5, 6))
            inode = int(match[7])
            identity = (os.makedev(major, minor), inode) if inode else None
            # The kernel writes a newline in a path as "\012", and nothing else of it that way.
            path = os.fsdecode(match[8].replace(b"\\012", b"\n"))
            found.append(Mapped(start, end, offset, identity, path))
    return found


def shown_to(pid: int) -> int:
    """The uid of who may look at a process, root's where it is not dumpable (proc(5))."""
    return os.stat(f"/proc/{pid}/maps").st_uid


def started_at(pid: int) -> int:
    """When the process with this number was created, CLOCK_MONOTONIC in ns, to 10 ms.

    Less by the time that the host was asleep since.
    """
    # The name, in parentheses, may itself have any characters.
    fields = read(f"/proc/{pid}/stat").rpartition(b")")[2].split()
    since_boot = int(fields[19]) * _TICK
    asleep = time.clock_gettime_ns(time.CLOCK_BOOTTIME) - time.monotonic_ns()
    return since_boot - asleep


def owner(pid: int) -> Owner:
    """Whose it is; OSError where it is gone."""
    fields = dict(
        line.split(b":", 1) for line in read(f"/proc/{pid}/status").split(b"\n") if b":" in line
    )
    try:
        return Owner(int(fields[b"Uid"].split()[1]), int(fields[b"NSpid"].split()[-1]))
    except (KeyError, IndexError, ValueError):
        raise OSError("no owner in /proc") from None


def same_place(pid: int, path: str) -> bool:
    """Whether a path leads to the same file for a process as for this one.

    /proc/PID/root tells it best, but needs CAP_SYS_PTRACE for the processes of others;
    anybody may see which part of which file system they have mounted where.
    """
    try:
        theirs = _mount_of(f"/proc/{pid}/mountinfo", path)
        return theirs is not None and theirs == _mount_of("/proc/self/mountinfo", path)
    except OSError:
        return False


def _mount_of(mountinfo: str, path: str) -> tuple[str, str, str] | None:
    """Device, the part of it, and the place of the mount that a path is on (proc(5))."""
    best: tuple[str, str, str] | None = None
    for line in os.fsdecode(read(mountinfo)).split("\n"):
        fields = line.split(" ")
        if len(fields) < 6:
            continue
        place = _OCTAL.sub(lambda match: chr(int(match[1], 8)), fields[4])
        inside = path == place or path.startswith(place.rstrip("/") + "/")
        # Of two at the same place the later one covers the other.
        if inside and (best is None or len(place) >= len(best[2])):
            best = fields[2], fields[3], place
    return best
