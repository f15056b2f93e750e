"""A machine to which records are told one by one, and small programs to map."""

from __future__ import annotations

import struct
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ptrace_client.perf_data.attr import EventAttr
from ptrace_client.perf_data.model import (
    CpuMode,
    Features,
    Record,
    RecordedEvent,
    RecordKind,
    Sample,
)
from ptrace_client.perf_symbols.machine import RecordedMachine, open_machine

CONTEXT_KERNEL = (1 << 64) - 128
CONTEXT_USER = (1 << 64) - 512
EXECUTABLE = 5

_ATTR = EventAttr(1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, b"")
EVENT = RecordedEvent(0, "cpu-clock", _ATTR, (), layout=None)  # type: ignore[arg-type]


class FakeRecording:
    """What open_machine() reads of a recording."""

    path = "perf.data"
    is_pipe = False
    tracing = None
    events: Sequence[RecordedEvent] = ()

    def __init__(self, *, big_endian: bool = False, **features: Any) -> None:
        self.big_endian = big_endian
        self.features = Features(**features)

    def records(self) -> Any:
        return iter(())

    def event_of(self, id: int) -> RecordedEvent | None:
        return None

    def close(self) -> None:
        pass


class Told:
    """A machine and ways to tell it records, with a pid that is the tid if none is given."""

    def __init__(
        self, *, big_endian: bool = False, features: dict[str, Any] | None = None, **options: Any
    ) -> None:
        recording = FakeRecording(big_endian=big_endian, **features or {})
        self.machine: RecordedMachine = open_machine(recording, **options)
        self._order = ">" if big_endian else "<"

    def comm(self, tid: int, name: bytes) -> None:
        self._apply(RecordKind.COMM, 0, self._pack("II", tid, tid) + name.ljust(16, b"\0"))

    def fork(self, tid: int, parent: int, *, pid: int | None = None, misc: int = 0) -> None:
        own = tid if pid is None else pid
        self._apply(RecordKind.FORK, misc, self._pack("IIIIQ", own, parent, tid, parent, 0))

    def exit(self, tid: int) -> None:
        self._apply(RecordKind.EXIT, 0, self._pack("IIIIQ", tid, tid, tid, tid, 0))

    def mmap(
        self, tid: int, start: int, size: int, name: str, pgoff: int = 0, misc: int = CpuMode.USER
    ) -> None:
        body = self._pack("IIQQQ", tid, tid, start, size, pgoff) + name.encode() + b"\0"
        self._apply(RecordKind.MMAP, misc, body)

    def mmap2(
        self,
        tid: int,
        start: int,
        size: int,
        name: str,
        pgoff: int = 0,
        *,
        inode: int = 0,
        protection: int = EXECUTABLE,
        build_id: bytes | None = None,
    ) -> None:
        file = self._pack("IIQQ", 8, 1, inode, 0) if inode else bytes(24)
        if build_id is not None:
            file = bytes([len(build_id), 0, 0, 0]) + build_id.ljust(20, b"\0")
        body = self._pack("IIQQQ", tid, tid, start, size, pgoff) + file
        body += self._pack("II", protection, 2) + name.encode() + b"\0"
        misc = CpuMode.USER | (0 if build_id is None else 1 << 14)
        self._apply(RecordKind.MMAP2, misc, body)

    def kernel(self, start: int, size: int, reference: int, symbol: str = "_text") -> None:
        name = f"[kernel.kallsyms]{symbol}"
        self.mmap((1 << 32) - 1, start, size, name, reference, CpuMode.KERNEL)

    def ksymbol(self, start: int, size: int, name: str, *, gone: bool = False) -> None:
        body = self._pack("QIHH", start, size, 1, int(gone)) + name.encode() + b"\0"
        self._apply(RecordKind.KSYMBOL, 0, body)

    def chain(self, tid: int, *entries: int, pid: int | None = None) -> list[dict[str, Any]]:
        sample = Sample(EVENT, CpuMode.USER, pid=tid if pid is None else pid, tid=tid)
        sample.callchain = entries
        return self.machine.callchain(sample)

    def names(self, tid: int, *entries: int) -> list[str | None]:
        return [entry.get("sym", {}).get("name") for entry in self.chain(tid, *entries)]

    def _pack(self, codes: str, *values: int) -> bytes:
        return struct.pack(self._order + codes, *values)

    def _apply(self, kind: RecordKind, misc: int, body: bytes) -> None:
        body = body.ljust(-(-len(body) // 8) * 8, b"\0")
        data = self._pack("IHH", kind, misc, 8 + len(body)) + body
        self.machine.apply(Record(None, kind, misc, data, 0, len(data), -1))


SOURCE = """
#define FUNCTION __attribute__((noinline, noclone))
int data_word = 5;
static FUNCTION int local(int x) { return x * 5 + data_word; }
FUNCTION int global(int x) { return local(x) * 3; }
__attribute__((weak)) FUNCTION int weakling(int x) { return global(x) - 2; }
FUNCTION int __shared_name(int x) { return weakling(x) + 7; }
int shared_name(int x) __attribute__((alias("__shared_name")));
__asm__(".text\\n.globl sizeless\\nsizeless:\\n.rept 24\\nnop\\n.endr\\nret\\n"
        "behind:\\nret\\n.size behind, .-behind\\n.type behind, @function\\n");
int puts(const char *);
int main(int argc, char **argv) { return puts("x") + shared_name(argc); }
"""


def build(path: Path, *options: str, source: str | Path = SOURCE) -> Path:
    """Compile a program of a text or a file with a build id."""
    written = ["-x", "c", "-"] if isinstance(source, str) else [str(source)]
    command = ["gcc", "-O1", *written, "-o", str(path), "-Wl,--build-id", *options]
    text = source if isinstance(source, str) else ""
    subprocess.run(command, input=text.encode(), check=True, timeout=60)
    return path


def build_id(path: Path) -> bytes:
    """Return what readelf says is the build id."""
    command = ["readelf", "-n", path]
    text = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    return bytes.fromhex(text.partition("Build ID: ")[2].split()[0])


def symbols(path: Path) -> dict[str, tuple[int, int]]:
    """Return (address, size) by name as nm says."""
    command = ["nm", "-S", "--defined-only", path]
    lines = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    found = {}
    for line in lines.splitlines():
        address, *size, _, name = line.split()
        found[name] = int(address, 16), int(size[0], 16) if size else 0
    return found


def segments(path: Path) -> list[tuple[int, int, int]]:
    """Return (offset, address, size) of what is loaded, as readelf says."""
    command = ["readelf", "-lW", path]
    lines = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    rows = [line.split() for line in lines.splitlines() if line.strip().startswith("LOAD")]
    return [(int(row[1], 16), int(row[2], 16), int(row[5], 16)) for row in rows]


def offset_of(path: Path, address: int) -> int:
    """Return where in the file lies what is linked for an address."""
    for offset, start, size in segments(path):
        if start <= address < start + size:
            return address - start + offset
    raise AssertionError(f"{path} has nothing at {address:#x}")
