"""Names of kernel addresses, asked from the kernel itself.

A BPF program prints an address with "%pS", as the kernel's own messages do. That tells the
names of modules, trampolines and BPF programs as they are now, and works where
/proc/kallsyms shows no addresses, as it does to who has CAP_BPF and CAP_PERFMON but not
CAP_SYSLOG. bpf_snprintf() is there since kernel commit 7b15523a989b (5.13); before, and
without those capabilities, /proc/kallsyms is read.
"""

from __future__ import annotations

import bisect
import ctypes
import os
import re
import struct
import time
from pathlib import Path
from typing import NamedTuple, Protocol

from ptraced import syscalls
from ptraced.bpf_maps import F_MMAPABLE, MAP_ARRAY, Map, MapSpec, load_program

KERNEL_DSO = "[kernel.kallsyms]"

# include/uapi/linux/bpf.h
_PROG_TEST_RUN = 10
_MAP_FREEZE = 22
_PROG_RAW_TRACEPOINT = 17
_F_RDONLY_PROG = 1 << 7
_FUNC_SNPRINTF = 165
_TEXT_BYTES = 504
# "name+0x10/0x80 [module]"; an address alone where the kernel knows no name.
_PRINTED = re.compile(r"(.+)\+0x([0-9a-f]+)/0x[0-9a-f]+(?: (\[[^\]]*\]))?.*", re.DOTALL)

# How often /proc/kallsyms may be read again for an address that it did not have, seconds.
_RELOAD_AFTER = 1.0


class KernelSymbol(NamedTuple):
    """A function of the kernel; `dso` is "[module]" or KERNEL_DSO."""

    name: str
    start: int
    dso: str


class KernelSymbols(Protocol):
    def find(self, address: int) -> KernelSymbol | None:
        """The function that an address is in."""

    def close(self) -> None: ...


class PrintedSymbols:
    """Has the kernel print them; OSError from the constructor where it cannot."""

    def __init__(self) -> None:
        format_map = Map("format", MapSpec(MAP_ARRAY, 4, 8, 1, _F_RDONLY_PROG))
        try:
            format_map.update(0, b"%pS".ljust(8, b"\0"))
            # The verifier wants a format that nobody can change any more.
            freeze = ctypes.create_string_buffer(struct.pack("<I", format_map.fd), 144)
            syscalls.bpf(_MAP_FREEZE, freeze)
            self._text = Map("text", MapSpec(MAP_ARRAY, 4, 8 + _TEXT_BYTES, 1, F_MMAPABLE))
            try:
                code = _program(self._text.fd, format_map.fd)
                self._program = load_program(_PROG_RAW_TRACEPOINT, "kernel_symbol", code)
            except OSError:
                self._text.close()
                raise
        finally:
            # The program holds it.
            format_map.close()
        self._shared = self._text.mapped()
        self._run = ctypes.create_string_buffer(struct.pack("<I", self._program), 144)
        try:
            self.find(0)
        except OSError:
            self.close()
            raise

    def find(self, address: int) -> KernelSymbol | None:
        """The function that an address is in. Takes about 2 us."""
        struct.pack_into("=Q", self._shared, 0, address)
        syscalls.bpf(_PROG_TEST_RUN, self._run)
        text = self._shared[8 : 8 + _TEXT_BYTES].partition(b"\0")[0].decode(errors="replace")
        printed = _PRINTED.fullmatch(text)
        if not printed:
            return None
        name, offset, module = printed.groups()
        return KernelSymbol(name, address - int(offset, 16), module or KERNEL_DSO)

    def close(self) -> None:
        self._shared.close()
        self._text.close()
        os.close(self._program)


def _program(text: int, format_: int) -> bytes:
    """bpf_snprintf(text + 8, _TEXT_BYTES, format, text, 8), with descriptors of maps."""

    def instruction(code: int, register: int = 0, source: int = 0, value: int = 0) -> bytes:
        return struct.pack("<BBhi", code, source << 4 | register, 0, value)

    def place(register: int, fd: int, offset: int) -> bytes:
        # BPF_LD | BPF_DW | BPF_IMM with BPF_PSEUDO_MAP_VALUE.
        return instruction(0x18, register, 2, fd) + instruction(0, value=offset)

    def move(register: int, value: int) -> bytes:
        return instruction(0xB7, register, value=value)

    return b"".join(
        (
            place(1, text, 8),
            move(2, _TEXT_BYTES),
            place(3, format_, 0),
            place(4, text, 0),
            move(5, 8),
            instruction(0x85, value=_FUNC_SNPRINTF),
            move(0, 0),
            instruction(0x95),
        )
    )


class ListedSymbols:
    """Those of /proc/kallsyms, read when first needed and again for what is missing."""

    def __init__(self, path: Path = Path("/proc/kallsyms")) -> None:
        self._path = path
        self._starts: list[int] = []
        self._names: list[tuple[str, str]] = []
        self._loaded_at = float("-inf")

    def find(self, address: int) -> KernelSymbol | None:
        """The last symbol that starts at or before an address, where one starts behind it too."""
        found = self._find(address)
        if found is None and time.monotonic() - self._loaded_at >= _RELOAD_AFTER:
            self._load()
            found = self._find(address)
        return found

    def close(self) -> None:
        pass

    def _find(self, address: int) -> KernelSymbol | None:
        at = bisect.bisect_right(self._starts, address) - 1
        # The list has no sizes: what the last symbol covers is not known, and neither is
        # where a module ends that another one follows.
        if at < 0 or at + 1 >= len(self._starts):
            return None
        name, dso = self._names[at]
        if self._names[at + 1][1] != dso or name in ("_etext", "_einittext"):
            return None
        return KernelSymbol(name, self._starts[at], dso)

    def _load(self) -> None:
        found: dict[int, tuple[str, str]] = {}
        with self._path.open() as file:
            for line in file:
                address, kind, name, *module = line.split()
                start = int(address, 16)
                if start and kind in "tTwW":
                    found.setdefault(start, (name, module[0] if module else KERNEL_DSO))
        self._starts = sorted(found)
        self._names = [found[start] for start in self._starts]
        self._loaded_at = time.monotonic()


def kernel_symbols() -> KernelSymbols:
    """The better of the two that works here."""
    try:
        return PrintedSymbols()
    except OSError:
        return ListedSymbols()
