"""Where an address lies, as perf tells it, and who answers that."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

from ptrace_client.perf_data.model import Record, Sample
from ptrace_client.perf_symbols.threads import Comms


class Dso(NamedTuple):
    """A file or an image: `name` as perf shows it (path, "[kernel.kallsyms]", "[vdso]")."""

    name: str
    short_name: str
    # b"" where it is not known.
    build_id: bytes


class Map(NamedTuple):
    """Mapped memory: addresses `start` up to `end`, from `pgoff` bytes in the file on."""

    start: int
    end: int
    pgoff: int
    dso: Dso


class Symbol(NamedTuple):
    """A symbol: addresses of the file for user code, absolute ones for the kernel's."""

    start: int
    end: int
    # 0 local, 1 global, 2 weak.
    binding: int
    name: str


class Location(NamedTuple):
    """An address: `address` is absolute; `symbol_offset` counts from the symbol's start."""

    address: int
    map: Map | None
    symbol: Symbol | None
    symbol_offset: int


class Machine(Protocol):
    """What ran on the recorded host: names of threads, mappings, symbols; from machine.py."""

    # By tid: comms[tid] is comm(tid), for every tid. The object stays the same.
    comms: Comms

    def apply(self, record: Record) -> None:
        """Take in a record of tasks, mappings or symbols; others are ignored."""

    def comm(self, tid: int) -> str:
        """Return the name that perf gives a thread now: ":1234" where nobody told it."""

    def locate(self, tid: int, cpumode: int, address: int, pid: int | None = None) -> Location:
        """Return where an address lies for a thread, now.

        `pid` is the sample's: a thread that no record told of has its process's mappings.
        """

    def callchain(self, sample: Sample) -> list[dict[str, Any]]:
        """Return the entries that perf makes of a sample's chain: fresh dicts, leaf first.

        Keys are in perf's order, each only if known: ip, sym (start, end, binding, name),
        sym_off, sym_srcline, dso. Markers are gone, inlined functions have entries.
        """

    def srcline(self, location: Location) -> tuple[str | None, int]:
        """Return (path of the source file, line), (None, 0) where not known."""
