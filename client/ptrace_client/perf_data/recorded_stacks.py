"""Call chains of a recording as a stream carries them: each once, by number."""

from __future__ import annotations

from struct import Struct
from typing import Final

from ptrace_client.perf_data.model import Record, RecordKind, Sample
from ptrace_client.perf_data.record_bodies import MISC_13
from ptrace_client.perf_data.schemas import sendable
from ptrace_client.perf_symbols.model import Machine
from ptrace_proto import ptrace_pb2 as pb

# Chains that are remembered, and that whoever reads the stream has to remember.
_REMEMBERED: Final = 1 << 16
# Records that change what the addresses of one process mean, and of all.
_OF_A_PROCESS: Final = frozenset(
    (RecordKind.MMAP, RecordKind.MMAP2, RecordKind.FORK, RecordKind.COMM)
)
_OF_ALL: Final = frozenset((RecordKind.KSYMBOL, RecordKind.TEXT_POKE))
_NO_PROCESS: Final = (1 << 32) - 1


class RecordedStacks:
    """Numbers the chains of samples, and keeps those that are new until they are sent."""

    def __init__(self, machine: Machine, order: str) -> None:
        self._machine = machine
        self._pids = Struct(f"{order}8xII")
        # By process: the chains that have been seen.
        self._numbers: dict[int, dict[tuple[int, ...], int]] = {}
        self._last = self._forgotten = 0
        self._new: list[pb.Stack] = []

    def number(self, sample: Sample) -> int:
        """Return the number of a sample's stack; 0 where it is empty."""
        own = self._numbers.setdefault(sample.pid, {})
        known = own.get(sample.callchain)
        if known is None:
            known = own[sample.callchain] = self._add(sample)
        return known

    def changed(self, record: Record) -> None:
        """Take in a record after which addresses may mean something else."""
        if record.kind in _OF_ALL:
            self._numbers.clear()
        elif record.kind in _OF_A_PROCESS and record.end - record.start >= self._pids.size:
            pid, other = self._pids.unpack_from(record.data, record.start)
            if pid == _NO_PROCESS:
                self._numbers.clear()
            elif record.kind == RecordKind.COMM and not record.misc & MISC_13:
                pass
            elif record.kind != RecordKind.FORK or pid != other:
                self._numbers.pop(pid, None)

    def put(self, message: pb.TraceResponse) -> None:
        """Put the stacks that are new since the last call into a message with their rows."""
        message.stacks.extend(self._new)
        self._new.clear()
        if self._last - self._forgotten >= _REMEMBERED:
            self._numbers.clear()
            self._forgotten = self._last
            message.forget_stacks_below = self._last + 1

    def _add(self, sample: Sample) -> int:
        frames = [
            pb.Frame(
                address=entry["ip"],
                symbol=sendable(entry.get("sym", {}).get("name", "")),
                offset=entry.get("sym_off", 0),
                # The kernel is in the upper half on all 64-bit machines.
                kernel=entry["ip"] >> 63 == 1,
                dso=sendable(entry.get("dso", "")),
            )
            for entry in self._machine.callchain(sample)
        ]
        if not frames:
            return 0
        self._last += 1
        self._new.append(pb.Stack(id=self._last, frames=frames))
        return self._last
