"""Where an address lies, as perf tells it, and who answers that."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from ptrace_client.perf_data.model import Record, Sample
from ptrace_client.perf_symbols.threads import Comms

if TYPE_CHECKING:
    from ptrace_client.perf_symbols.frames import Frame


@dataclass(eq=False, slots=True)
class Dso:
    """A file or an image; the same object wherever it is mapped."""

    # As perf shows it: path, "[kernel.kallsyms]", "[vdso]".
    name: str
    long_name: str
    short_name: str
    # b"" where it is not known; perf may find it only when it looks for symbols.
    build_id: bytes
    is_kernel: bool = False


@dataclass(eq=False, slots=True)
class Map:
    """Mapped memory: addresses `start` up to `end`, from `pgoff` bytes in the file on.

    Symbols of an `absolute` one (the kernel, memory without a file) are at addresses of
    memory, others at offsets in the file.
    """

    start: int
    end: int
    pgoff: int
    dso: Dso
    absolute: bool = False

    def to_file(self, address: int) -> int:
        """Return where in the terms of its symbols an address lies (perf's map_ip)."""
        return address if self.absolute else address - self.start + self.pgoff


class Symbol(NamedTuple):
    """A symbol: `start` and `end` are offsets in the file for user code, the kernel's absolute."""

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
        """Return where an address lies for a thread, now: perf's way for a sample's ip.

        `pid` is the sample's: a thread that no record told of has its process's mappings.
        """

    def locate_data(self, tid: int, cpumode: int, address: int, pid: int | None = None) -> Location:
        """Return the same for a sample's addr, which may be the user's in a kernel sample."""

    def locate_branch(self, tid: int, address: int, pid: int | None = None) -> Location:
        """Return the same for an end of a branch: the user's mappings first, then the kernel's."""

    def callchain(self, sample: Sample) -> list[dict[str, Any]]:
        """Return the entries that perf makes of a sample's chain: fresh dicts, leaf first.

        Keys are in perf's order, each only if known: ip, sym (start, end, binding, name),
        sym_off, sym_srcline, dso. Markers are gone.
        """

    def sampled(
        self, pid: int, tid: int, cpumode: int, ip: int, addresses: bytes
    ) -> tuple[Frame, list[dict[str, Any]]]:
        """Return the frame of a sample's ip, and callchain() of a sample whose chain has these.

        `addresses` are in the recording's byte order. For samples without stacks to unwind.
        """

    def frames(self, sample: Sample) -> list[Location]:
        """Return where the entries of callchain() lie."""

    def srcline(self, location: Location) -> tuple[str | None, int]:
        """Return (path of the source file, line), (None, 0) where not known."""

    def srccode(self, location: Location) -> tuple[str | None, int, str | None]:
        """Return (path, line, text of that line), each None or 0 where not known."""

    def code(self, tid: int, address: int, pid: int | None = None) -> tuple[bytes, bool] | None:
        """Return code of x86 from an address on, and whether it is 64-bit; None if not known."""

    def close(self) -> None:
        """End what answers for it (addr2line)."""
