"""Records of tasks, mappings and losses, as the kernel lays them out (perf_event_open(2)).

They end with what sample_id_all adds: of whom, when, where, and by which event's id.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

from ptrace_client.perf_data.model import CpuMode, RecordKind

_HEADER: Final = struct.Struct("<IHH")
_TRAILER: Final = struct.Struct("<IIQIIQ")
_TASK: Final = struct.Struct("<IIIIQ")
_IDS: Final = struct.Struct("<II")
_MMAP: Final = struct.Struct("<IIQQQ")
_MMAP2: Final = struct.Struct("<IIQQQIIQQII")
_LOST: Final = struct.Struct("<QQ")
_U32: Final = 0xFFFFFFFF
# PERF_RECORD_MISC_COMM_EXEC
_EXEC: Final = 1 << 13
# PROT_READ | PROT_EXEC and MAP_PRIVATE: the kernel tells of code, and where it is not so, nobody
# who reads it would know.
_PROTECTION, _MAP_FLAGS = 5, 2
# Room for all of a record in its u16, in steps of 8.
_RECORD_MAX: Final = 0xFFF8
# The kernel's own bound on names of files (PATH_MAX).
_PATH_MAX: Final = 4096

FINISHED_ROUND: Final = _HEADER.pack(RecordKind.FINISHED_ROUND, 0, _HEADER.size)


@dataclass(frozen=True, slots=True)
class Origin:
    """Of which task a record is, when (ns), and on which CPU."""

    pid: int
    tid: int
    time: int
    cpu: int = 0


class RecordEncoder:
    """Makes records of an event that has the id `id`."""

    def __init__(self, id: int) -> None:
        self._id = id

    def comm(self, origin: Origin, name: bytes, *, is_exec: bool = False) -> bytes:
        """A thread has this name from now on."""
        body = _IDS.pack(origin.pid & _U32, origin.tid & _U32) + _padded(name[:15])
        misc = CpuMode.USER | (_EXEC if is_exec else 0)
        return self._record(RecordKind.COMM, misc, body, origin)

    def fork(self, origin: Origin, parent: int, parent_tid: int) -> bytes:
        """A task was created."""
        return self._task(RecordKind.FORK, origin, parent, parent_tid)

    def exit(self, origin: Origin, parent: int, parent_tid: int) -> bytes:
        """A task ended."""
        return self._task(RecordKind.EXIT, origin, parent, parent_tid)

    def mmap2(
        self,
        origin: Origin,
        place: tuple[int, int, int],
        path: bytes,
        file: tuple[int, int, int] = (0, 0, 0),
    ) -> bytes:
        """A process mapped code: `place` is address, length and offset in bytes, `file` major and
        minor number of its device, and its inode."""
        ids = origin.pid & _U32, origin.tid & _U32
        body = _MMAP2.pack(*ids, *place, *file, 0, _PROTECTION, _MAP_FLAGS)
        body += _padded(path[:_PATH_MAX])
        return self._record(RecordKind.MMAP2, CpuMode.USER, body, origin)

    def kernel_mmap(self, start: int, end: int) -> bytes:
        """The kernel's own code lies from `start` to `end`, and its symbol _text at `start`."""
        body = _MMAP.pack(_U32, 0, start, end - start, start) + _padded(b"[kernel.kallsyms]_text")
        return self._record(RecordKind.MMAP, CpuMode.KERNEL, body, Origin(_U32, 0, 0))

    def lost(self, origin: Origin, id: int, count: int) -> bytes:
        """So many samples of the event with this id are missing."""
        return self._record(RecordKind.LOST, 0, _LOST.pack(id, count), origin)

    def _task(self, kind: RecordKind, origin: Origin, parent: int, parent_tid: int) -> bytes:
        ids = (origin.pid, parent, origin.tid, parent_tid)
        body = _TASK.pack(*(number & _U32 for number in ids), origin.time)
        return self._record(kind, 0, body, origin)

    def _record(self, kind: RecordKind, misc: int, body: bytes, origin: Origin) -> bytes:
        size = _HEADER.size + len(body) + _TRAILER.size
        trailer = _TRAILER.pack(
            origin.pid & _U32, origin.tid & _U32, origin.time, origin.cpu, 0, self._id
        )
        return _HEADER.pack(kind, misc, size) + body + trailer


def own_record(kind: RecordKind, body: bytes, misc: int = 0) -> bytes:
    """A record of perf's own, without a trailer, padded to a multiple of 8 bytes."""
    body += bytes(-len(body) % 8)
    if _HEADER.size + len(body) > _RECORD_MAX:
        raise ValueError(f"a record of {len(body)} bytes")
    return _HEADER.pack(kind, misc, _HEADER.size + len(body)) + body


def _padded(text: bytes) -> bytes:
    """A C string that ends on a multiple of 8 bytes."""
    return text + bytes(8 - len(text) % 8)
