"""Which threads a recording knows, and what they are called, by perf's rules.

perf keeps a thread for a tid until the same tid is born again: what EXIT tells changes nothing,
and a name holds until COMM brings another one.
"""

from __future__ import annotations

import struct

from ptrace_client.perf_data.model import Buffer

# PERF_RECORD_MISC_COMM_EXEC and PERF_RECORD_MISC_FORK_EXEC (of FORK records that perf itself
# makes for tasks that ran before the recording: their mappings follow by themselves).
MISC_EXEC = 1 << 13


class Comms(dict[int, str]):
    """By tid (u32), the names that records told; ":1234" for whom none did."""

    def __missing__(self, tid: int) -> str:
        return f":{signed(tid)}"


def signed(tid: int) -> int:
    """Return a tid or pid as perf prints it: an s32."""
    return tid - (1 << 32) if tid >> 31 else tid


def text_at(data: Buffer, start: int, end: int) -> str:
    """Return the NUL-terminated text from `start` on; bytes that are not UTF-8 as surrogates."""
    return bytes(data[start:end]).partition(b"\0")[0].decode(errors="surrogateescape")


class Threads:
    """The threads known now: `comms` and `pids` by tid."""

    def __init__(self, byte_order: str) -> None:
        # perf enters the idle task before it reads.
        self.comms = Comms({0: "swapper"})
        self.pids: dict[int, int] = {0: 0}
        self._comm = struct.Struct(byte_order + "8xII")
        self._task = struct.Struct(byte_order + "8xIIII")

    def comm_record(self, data: Buffer, start: int, end: int) -> None:
        """Take in PERF_RECORD_COMM."""
        if end - start < self._comm.size:
            return
        pid, tid = self._comm.unpack_from(data, start)
        self.add(pid, tid)
        self.comms[tid] = text_at(data, start + self._comm.size, end)

    def fork_record(self, data: Buffer, start: int, end: int) -> tuple[int, int, int, int] | None:
        """Take in PERF_RECORD_FORK. Return pid, tid, parent's pid, parent's tid; None if damaged.

        The tid is a new thread even where it was known; a parent that was known in another
        process is taken for one that died unseen.
        """
        if end - start < self._task.size:
            return None
        pid, parent_pid, tid, parent_tid = self._task.unpack_from(data, start)
        if self.pids.get(parent_tid, parent_pid) != parent_pid:
            self.forget(parent_tid)
        self.add(parent_pid, parent_tid)
        if tid != parent_tid:
            self.forget(tid)
        self.add(pid, tid)
        if parent_tid in self.comms:
            self.comms[tid] = self.comms[parent_tid]
        return pid, tid, parent_pid, parent_tid

    def exited_tid(self, data: Buffer, start: int, end: int) -> int | None:
        """Return the thread that PERF_RECORD_EXIT tells of; its name is kept."""
        if end - start < self._task.size:
            return None
        tid: int = self._task.unpack_from(data, start)[2]
        return tid

    def add(self, pid: int, tid: int) -> None:
        """Note a thread that a record names; one that is known stays as it is."""
        self.pids.setdefault(tid, pid)

    def forget(self, tid: int) -> None:
        """Drop what is known of a thread."""
        self.pids.pop(tid, None)
        self.comms.pop(tid, None)
