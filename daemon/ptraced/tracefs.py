"""Tracepoints as tracefs lists and describes them.

The layout of a record is in events/SYSTEM/NAME/format.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
from collections.abc import Iterator
from pathlib import Path

from ptrace_formats.event_format import EventFormat, FormatError, parse_format
from ptraced.diagnostics import nearest, printable
from ptraced.errors import NotFound, Unavailable

_MOUNT_POINT = Path("/sys/kernel/tracing")
_MOUNTINFO = Path("/proc/self/mountinfo")
# Its events describe records of other tracers; no BPF program can be attached to them.
_NOT_TRACEPOINTS = "ftrace"
_NAME = re.compile(r"[\w.-]+")


class Tracefs:
    """A mounted tracefs at `root`. Safe to use from several threads."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._listing: dict[str, list[str]] = {}
        self._names: list[str] = []
        self._formats: dict[tuple[str, str], EventFormat] = {}

    @classmethod
    def find(cls) -> Tracefs:
        """Return tracefs where it is mounted; mount it at /sys/kernel/tracing if it is not.

        Raises Unavailable where that is not possible, saying what to do.
        """
        found = mounted_at(_MOUNTINFO.read_text())
        if found is None:
            _mount(_MOUNT_POINT)
            found = _MOUNT_POINT
        if not os.access(found / "events", os.R_OK | os.X_OK, effective_ids=True):
            raise Unavailable(
                f"error: {found}/events cannot be read: run as root or give this program "
                "the capability CAP_DAC_READ_SEARCH"
            )
        return cls(found)

    def names(self) -> list[str]:
        """Return "system:name" of all tracepoints, sorted.

        Directories are listed every time (1 ms), since modules add events; whether each event
        has an id, so that it can be opened as a perf event, is looked up only after a change.
        """
        listing = self._list()
        if listing != self._listing:
            events = self.root / "events"
            self._names = sorted(
                f"{system}:{name}"
                for system, names in listing.items()
                for name in names
                if (events / system / name / "id").exists()
            )
            self._listing = listing
        return list(self._names)

    def format(self, system: str, name: str) -> EventFormat:
        """Return the format of an event; raises NotFound, with a suggestion, or Unavailable."""
        directory = self.root / "events" / system / name
        try:
            if not _NAME.fullmatch(system) or not _NAME.fullmatch(name):
                raise FileNotFoundError
            # A module that was loaded anew has new ids, and maybe new formats.
            event_id = int((directory / "id").read_text())
            known = self._formats.get((system, name))
            if known is None or known.id != event_id:
                known = parse_format(system, (directory / "format").read_text())
                self._formats[system, name] = known
            return known
        except (FileNotFoundError, NotADirectoryError):
            wanted = f"{system}:{name}"
            raise NotFound(
                f"error: no event '{printable(wanted)}'{nearest(wanted, self.names())}"
            ) from None
        except FormatError as error:
            raise Unavailable(
                f"error: tracefs describes {system}:{name} in an unknown way: {error}"
            ) from None
        except OSError as error:
            raise Unavailable(
                f"error: {error.filename}: {error.strerror}: run as root or give this program "
                "the capability CAP_DAC_READ_SEARCH"
            ) from None

    def _list(self) -> dict[str, list[str]]:
        listing = {}
        try:
            systems = list(_subdirectories(self.root / "events"))
        except FileNotFoundError:
            raise Unavailable(
                f"error: tracefs is not mounted at {self.root} any more; as root: "
                f"mount -t tracefs tracefs {self.root}"
            ) from None
        for system in systems:
            if system != _NOT_TRACEPOINTS:
                # A module may be unloaded while we look.
                with contextlib.suppress(FileNotFoundError):
                    listing[system] = list(_subdirectories(self.root / "events" / system))
        return listing


def mounted_at(mountinfo: str) -> Path | None:
    """Return where text like /proc/self/mountinfo (proc(5)) says that tracefs is mounted."""
    for line in mountinfo.splitlines():
        own, _, other = line.partition(" - ")
        _, _, _, root, mount_point, *_ = own.split(" ")
        if other.startswith("tracefs ") and root == "/":
            return Path(re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), mount_point))
    return None


def _subdirectories(path: Path) -> Iterator[str]:
    with os.scandir(path) as entries:
        yield from (entry.name for entry in entries if entry.is_dir(follow_symlinks=False))


def _mount(target: Path) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"tracefs", os.fsencode(target), b"tracefs", ctypes.c_ulong(0), None):
        reason = os.strerror(ctypes.get_errno())
        raise Unavailable(
            f"error: tracefs is not mounted and cannot be mounted here ({reason}): "
            f"run as root: mount -t tracefs tracefs {target}"
        )
