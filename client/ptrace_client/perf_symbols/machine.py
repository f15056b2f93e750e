"""The recorded host, as its records tell: the Machine of model.py."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from ptrace_client.perf_data.attr import SampleType
from ptrace_client.perf_data.model import CpuMode, Record, Recording, RecordKind, Sample
from ptrace_client.perf_symbols.chains import Chains
from ptrace_client.perf_symbols.dsos import Dsos
from ptrace_client.perf_symbols.frames import Frame, Frames
from ptrace_client.perf_symbols.kernel import Kernel, KernelSources
from ptrace_client.perf_symbols.loading import Loader
from ptrace_client.perf_symbols.maps import Maps
from ptrace_client.perf_symbols.model import Location
from ptrace_client.perf_symbols.records import Records
from ptrace_client.perf_symbols.sources import Sources
from ptrace_client.perf_symbols.spaces import Spaces
from ptrace_client.perf_symbols.threads import MISC_EXEC, Comms, Threads

if TYPE_CHECKING:
    from ptrace_client.perf_symbols.code import Code
    from ptrace_client.perf_symbols.unwind import Unwinder

# PERF_CONTEXT_* of perf_event_open(2): markers in chains, which tell where what follows lies.
_FIRST_MARKER = (1 << 64) - 4095
_MODES = {
    (1 << 64) - 32: CpuMode.HYPERVISOR,
    (1 << 64) - 128: CpuMode.KERNEL,
    (1 << 64) - 512: CpuMode.USER,
}
_KERNEL_START = 1 << 63
# As numbers: members of an enumeration take long to get.
_KERNEL, _USER = int(CpuMode.KERNEL), int(CpuMode.USER)
_UNWINDABLE = int(SampleType.REGS_USER | SampleType.STACK_USER)
_CPU_MODE = 7
# perf's default for scripts (kernel.perf_event_max_stack).
MAX_STACK = 127
_NO_FRAMES: dict[int, Frame] = {}


class RecordedMachine:
    """Applies a recording's records and answers as of the last one."""

    def __init__(
        self,
        recording: Recording,
        kernel: Kernel,
        dsos: Dsos,
        loader: Loader,
        *,
        inline: bool,
        sane: bool,
    ) -> None:
        byte_order = ">" if recording.big_endian else "<"
        self._kernel = kernel
        self._threads = Threads(byte_order)
        self._records = Records(byte_order)
        self._spaces = Spaces(dsos)
        self._loader = loader
        self._sources = Sources(loader)
        self._code: Code | None = None
        self._unwinder: Unwinder | None = None
        self._sane = sane
        self._arch = recording.features.arch or platform.machine()
        self._has_warned = False
        self._frames = Frames(loader, kernel, self._sources if inline else None)
        self._chains = Chains(self._resolve, kernel.maps, byte_order)
        # By tid, for whoever needs names often: never copied or replaced.
        self.comms: Comms = self._threads.comms
        self._kinds: dict[int, Callable[[Record], object]] = {
            RecordKind.COMM: self._comm,
            RecordKind.FORK: self._fork,
            RecordKind.EXIT: self._exit,
            RecordKind.MMAP: self._mmap,
            RecordKind.MMAP2: self._mmap,
            RecordKind.KSYMBOL: self._ksymbol,
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
        """Return where an address lies for a thread, now: perf's way for a sample's ip."""
        maps = self._maps(cpumode, pid, tid)
        if maps is None:
            return Location(address, None, None, 0)
        return self._frames.find(maps, address).location

    def locate_data(self, tid: int, cpumode: int, address: int, pid: int | None = None) -> Location:
        """Return the same for a sample's addr, which may be the user's in a kernel sample."""
        maps = self._maps(cpumode, pid, tid)
        if maps is None:
            return Location(address, None, None, 0)
        found = self._frames.place(maps, address)
        if found.map is None:
            own = _KERNEL if address >= _KERNEL_START else _USER
            if own != cpumode:
                return self.locate_data(tid, own, address, pid)
        return found

    def locate_branch(self, tid: int, address: int, pid: int | None = None) -> Location:
        """Return the same for an end of a branch: the user's mappings first, then the kernel's."""
        found = self.locate(tid, CpuMode.USER, address, pid)
        return self.locate(tid, CpuMode.KERNEL, address, pid) if found.map is None else found

    def callchain(self, sample: Sample) -> list[dict[str, Any]]:
        """Return the entries that perf makes of a sample's chain: fresh dicts, leaf first."""
        chain: list[dict[str, Any]] = []
        for frame in self._chain(sample):
            frame.add_fresh_entries(chain)
        return chain

    def sampled(
        self, pid: int, tid: int, cpumode: int, ip: int, addresses: bytes
    ) -> tuple[Frame, list[dict[str, Any]]]:
        """Return the frame of a sample's ip, and callchain() of its chain's addresses."""
        maps = self._spaces.find(pid, tid)
        chain = self._chains.entries(maps, addresses, pid, tid) if addresses else []
        if cpumode == _USER:
            frame = maps.frames.get(ip)
            return frame or self._frames.find(maps, ip), chain
        if cpumode == _KERNEL:
            frame = self._kernel.maps.frames.get(ip)
            return frame or self._frames.find(self._kernel.maps, ip), chain
        return self._frames.find(None, ip), chain

    def frames(self, sample: Sample) -> list[Location]:
        """Return where the entries of callchain() lie."""
        return [location for frame in self._chain(sample) for location in frame.locations()]

    def srcline(self, location: Location) -> tuple[str | None, int]:
        """Return (path of the source file, line), (None, 0) where not known."""
        return self._sources.line(location)

    def srccode(self, location: Location) -> tuple[str | None, int, str | None]:
        """Return (path, line, text of that line), each None or 0 where not known."""
        return self._sources.code(location)

    def code(self, tid: int, address: int, pid: int | None = None) -> tuple[bytes, bool] | None:
        """Return code of x86 from an address on, and whether it is 64-bit; None if not known.

        Up to 16 bytes, of user code alone: recordings tell where no file has the kernel's.
        """
        if address >= _KERNEL_START:
            return None
        if self._code is None:
            # What reads files is imported only for them.
            from ptrace_client.perf_symbols.code import Code

            self._code = Code(self._loader)
        return self._code.at(self.locate(tid, CpuMode.USER, address, pid))

    def close(self) -> None:
        """End what answers for it (addr2line), and close files."""
        if self._code is not None:
            self._code.close()
        self._sources.close()
        self._loader.close()

    def _maps(self, cpumode: int, pid: int | None, tid: int) -> Maps | None:
        if cpumode == _USER:
            return self._spaces.find(pid, tid)
        return self._kernel.maps if cpumode == _KERNEL else None

    def _chain(self, sample: Sample) -> list[Frame]:
        frames = self._resolve(sample.callchain, sample.pid, sample.tid)
        if frames is None:
            # perf takes a chain with another marker for damaged.
            return []
        if sample.event.attr.sample_type & _UNWINDABLE == _UNWINDABLE:
            frames += self._unwound(sample)
        return frames

    def _resolve(self, addresses: Sequence[int], pid: int, tid: int) -> list[Frame] | None:
        """Return the frames of a chain; None where it is damaged: has a marker of no mode."""
        frames: list[Frame] = []
        find = self._frames.find
        maps: Maps | None = self._spaces.find(pid, tid)
        known = _NO_FRAMES if maps is None else maps.frames
        for address in addresses:
            if address < _FIRST_MARKER:
                if len(frames) >= MAX_STACK:
                    break
                frames.append(known.get(address) or find(maps, address))
            elif (mode := _MODES.get(address)) is not None:
                maps = self._maps(mode, pid, tid)
                known = _NO_FRAMES if maps is None else maps.frames
            else:
                return None
        return frames

    def _unwound(self, sample: Sample) -> list[Frame]:
        if self._arch != "x86_64":
            self._warn_of_stacks()
            return []
        if self._unwinder is None:
            from ptrace_client.perf_symbols.unwind import Unwinder

            self._unwinder = Unwinder(self._loader, sane=self._sane)
        maps = self._spaces.find(sample.pid, sample.tid)
        find, sources = self._frames.find_unwound, self._sources
        addresses = self._unwinder.addresses(sample, maps, MAX_STACK)
        return [find(maps, address, sources) for address in addresses if address]

    def _warn_of_stacks(self) -> None:
        if not self._has_warned:
            from ptrace_client.printing import terminal_safe

            self._has_warned = True
            print(
                "warning: stacks that were copied with samples are unwound only for x86_64: chains "
                f"of this recording ({terminal_safe(self._arch)}) lack their user part",
                file=sys.stderr,
            )

    def _comm(self, record: Record) -> None:
        self._threads.comm_record(record.data, record.start, record.end)

    def _fork(self, record: Record) -> None:
        told = self._threads.fork_record(record.data, record.start, record.end)
        if told is not None:
            pid, tid, parent_pid, parent_tid = told
            copy = not record.misc & MISC_EXEC
            self._spaces.forked(pid, tid, parent_pid, parent_tid, copy=copy)

    def _exit(self, record: Record) -> None:
        tid = self._threads.exited_tid(record.data, record.start, record.end)
        if tid is not None:
            self._spaces.exited(tid)

    def _mmap(self, record: Record) -> None:
        mapping = self._records.mapping(record)
        if mapping is None:
            return
        range = mapping.start, mapping.size, mapping.pgoff
        if record.misc & _CPU_MODE == CpuMode.KERNEL:
            self._kernel.mapped(mapping.name, *range, mapping.build_id)
            return
        self._threads.add(mapping.pid, mapping.tid)
        kind = mapping.protection, mapping.flags, mapping.build_id
        self._spaces.mapped(mapping.pid, mapping.tid, range, mapping.name, mapping.id, *kind)

    def _ksymbol(self, record: Record) -> None:
        symbol = self._records.symbol(record)
        if symbol is None:
            return
        if symbol.is_gone:
            self._kernel.symbol_gone(symbol.start)
        else:
            self._kernel.symbol_registered(symbol.name, symbol.start, symbol.size)


def open_machine(
    recording: Recording,
    *,
    kallsyms: str | None = None,
    vmlinux: str | None = None,
    symfs: str = "",
    inline: bool = False,
    sane: bool = False,
) -> RecordedMachine:
    """Return the machine of a recording, to which its records are yet to be applied.

    `kallsyms` and `vmlinux` are files that tell the kernel's symbols in place of what is found;
    `symfs` is the folder under which the recorded host's files lie. With `inline`, inlined
    functions have entries of their own in all chains, as perf has them since 6.4. With `sane`,
    stacks are unwound without perf's mistakes.

    Raise ClientError where `kallsyms` or `vmlinux` cannot tell symbols.
    """
    dsos = Dsos()
    for name, build_id in recording.features.build_ids.items():
        dsos.header_build_id(name, build_id)
    if kallsyms is not None or vmlinux is not None:
        from ptrace_client.perf_symbols.kernel_symbols import check_given

        check_given(kallsyms, vmlinux)
    root = os.path.abspath(symfs) if symfs else ""
    kernel = Kernel(KernelSources(recording, kallsyms, vmlinux, root), dsos)
    loader = Loader(root)
    return RecordedMachine(recording, kernel, dsos, loader, inline=inline, sane=sane)
