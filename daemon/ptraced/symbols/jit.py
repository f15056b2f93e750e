"""Maps that programs write of functions they compile at run time: /tmp/perf-PID.map.

A line is "START SIZE name", both in hexadecimal. Node, Java agents and CPython's -X perf
write them; the program may be anybody's, and so may be what lies at that path.
"""

from __future__ import annotations

import bisect
import os
import time
from collections.abc import Callable

from ptrace_elf.elf import ElfError, FileData, open_regular
from ptraced.symbols import proc

_BYTES_MAX = 64 << 20
# A map is read in pieces: its lines take many times the room of its bytes, and no line is longer.
_PIECE_BYTES = 1 << 20
_FUNCTIONS_MAX = 250_000
# What a function takes besides the bytes of its line.
_FUNCTION_BYTES = 300
_NAME_MAX = 1024
# Between looks at a map that lacks a function: seconds, and times what the last look took.
_PAUSE = 0.1
_PAUSE_BY_COST = 10
# Functions that are looked through for one that covers an address, where they overlap.
_OVERLAPS_MAX = 64


def open_map(pid: int) -> tuple[str, FileData]:
    """The map that a process keeps, and its path as the process sees it.

    FileNotFoundError where it keeps none; another OSError where that cannot be told, or the
    file is not its own.
    """
    try:
        owner = proc.owner(pid)
    except FileNotFoundError:
        raise ProcessLookupError from None
    path = f"/tmp/perf-{owner.own_pid}.map"
    try:
        data = open_regular(f"/proc/{pid}/root{path}", follow=False)
    except PermissionError:
        if not proc.same_place(pid, path):
            raise
        data = open_regular(path, follow=False)
    if os.fstat(data.fd).st_uid != owner.uid:
        data.close()
        raise PermissionError(f"{path} is not the process's own")
    return path, data


class JitMap:
    """The functions of one process, out of the file that `open_its_map` opens."""

    def __init__(self, open_its_map: Callable[[], tuple[str, FileData]]) -> None:
        self._open = open_its_map
        self._read_up_to = self._entries = 0
        # End, the number of the entry, and name by start.
        self._functions: dict[int, tuple[int, int, str]] = {}
        self._starts: list[int] = []
        self._next_look = float("-inf")
        # Where the process has it, and whether it is sure that it has none.
        self.path = ""
        self.missing = False

    @property
    def size(self) -> int:
        """Bytes of memory that it takes, at most."""
        return self._read_up_to + _FUNCTION_BYTES * len(self._functions)

    def find(self, address: int) -> tuple[str, int] | None:
        """Name and start of the function that was compiled last among those at an address."""
        found = self._find(address)
        if found is None and time.monotonic() >= self._next_look:
            self.look()
            found = self._find(address)
        return found

    def look(self) -> None:
        """Read what was added to the file."""
        started = time.monotonic()
        self.missing = False
        try:
            self._read()
        except FileNotFoundError:
            self.missing = True
        except (OSError, ElfError):
            pass
        now = time.monotonic()
        self._next_look = now + max(_PAUSE, _PAUSE_BY_COST * (now - started))

    def _find(self, address: int) -> tuple[str, int] | None:
        at = bisect.bisect_right(self._starts, address) - 1
        best: tuple[int, str, int] | None = None
        for start in self._starts[max(0, at + 1 - _OVERLAPS_MAX) : at + 1]:
            end, order, name = self._functions[start]
            if address < end and (best is None or order > best[0]):
                best = order, name, start
        return (best[1], best[2]) if best else None

    def _read(self) -> None:
        self.path, file = self._open()
        try:
            size = min(file.size, _BYTES_MAX)
            if size < self._read_up_to:
                # Begun anew.
                self._read_up_to = 0
                self._functions.clear()
            grown = size > self._read_up_to
            while size > self._read_up_to and len(self._functions) < _FUNCTIONS_MAX:
                piece = file.read(self._read_up_to, min(_PIECE_BYTES, size - self._read_up_to))
                # The last line may not be complete yet.
                whole = piece[: piece.rfind(b"\n") + 1]
                if not whole:
                    break
                self._read_up_to += len(whole)
                self._add(whole)
            if grown:
                self._starts = sorted(self._functions)
        finally:
            file.close()

    def _add(self, lines: bytes) -> None:
        for line in lines.split(b"\n"):
            if len(self._functions) >= _FUNCTIONS_MAX:
                break
            try:
                start_text, size_text, name = line.split(b" ", 2)
                start, size = int(start_text, 16), int(size_text, 16)
            except ValueError:
                continue
            if 0 <= start < 1 << 64 and 0 < size < 1 << 32:
                self._entries += 1
                decoded = name[:_NAME_MAX].decode(errors="replace")
                self._functions[start] = (start + size, self._entries, decoded)
