"""Reads the symbols of what user processes map: files, jitted code, the vdso."""

from __future__ import annotations

import re

import numpy as np

from ptrace_client.perf_symbols.aliases import GLOBAL
from ptrace_client.perf_symbols.dsos import PERF_MAP, VDSO, LoadedDso
from ptrace_client.perf_symbols.elf_symbols import (
    has_symbols,
    is_what_runs,
    read_symbols,
    text_offset,
)
from ptrace_client.perf_symbols.files import (
    build_id_of,
    candidates,
    is_same_build,
    opened,
    own_vdso,
)
from ptrace_client.perf_symbols.table import Demangle, SymbolTable
from ptrace_elf.elf import Elf, ElfError, open_regular

_PERF_MAP_MAX = 256 << 20
# tools/perf/Documentation/jit-interface.txt: start and size in hex, then the name.
_PERF_MAP_LINE = re.compile(
    rb"^(?:0x)?([0-9a-fA-F]{1,16}) (?:0x)?([0-9a-fA-F]{1,16}) (.{3,})$", re.M
)


def load_symbols(dso: LoadedDso, symfs: str, demangle: Demangle) -> SymbolTable:
    """Return the symbols of a file under `symfs`; empty where none are found.

    Where nobody told its build id, that is noted.
    """
    try:
        return _Reader(symfs, demangle).load(dso)
    except (ElfError, OSError, ValueError, MemoryError):
        return SymbolTable()


class _Reader:
    def __init__(self, symfs: str, demangle: Demangle) -> None:
        self._symfs = symfs
        self._demangler = demangle

    def load(self, dso: LoadedDso) -> SymbolTable:
        if PERF_MAP.fullmatch(dso.name):
            return _read_perf_map(dso.name)
        if dso.is_kernel or not (dso.long_name.startswith("/") or dso.name == VDSO):
            # "anon_inode:[perf_event]" and the like are no paths.
            return SymbolTable()
        if not dso.build_id and dso.name != VDSO:
            with opened(self._symfs + dso.long_name) as elf:
                dso.build_id = b"" if elf is None else build_id_of(elf)
        return self._load_elf(dso)

    def _load_elf(self, dso: LoadedDso) -> SymbolTable:
        """The first file with a .symtab tells names, the first with a .dynsym where they lie."""
        names: str | None = None
        runs: str | None = None
        for path in dict.fromkeys(candidates(dso, self._symfs)):
            with opened(path) as elf:
                if elf is None or not fits(dso, elf):
                    continue
                if names is None and has_symbols(elf):
                    names = path
                if runs is None and is_what_runs(elf):
                    runs = path
            if names and runs:
                break
        dso.symbol_file = names
        return self._read(dso, names or runs, runs or names)

    def _read(self, dso: LoadedDso, names: str | None, runs: str | None) -> SymbolTable:
        if names is None or runs is None:
            return self._read_vdso(dso)
        with opened(runs) as runtime:
            if runtime is None:
                return SymbolTable()
            dso.text_offset = text_offset(runtime)
            if names == runs:
                return read_symbols(runtime, runtime, self._demangler)
            with opened(names) as named:
                if named is None:
                    return SymbolTable()
                return read_symbols(named, runtime, self._demangler)

    def _read_vdso(self, dso: LoadedDso) -> SymbolTable:
        """perf has that of this host for the recorded one, unless a table names its build."""
        if dso.name != VDSO or dso.is_in_header or self._symfs:
            return SymbolTable()
        own = own_vdso()
        if own is None or not fits(dso, own):
            return SymbolTable()
        dso.build_id = build_id_of(own)
        return read_symbols(own, own)


def fits(dso: LoadedDso, elf: Elf) -> bool:
    """Whether a file is the one that was recorded, as far as its build id tells."""
    return not dso.build_id or is_same_build(dso.build_id, build_id_of(elf))


def _read_perf_map(path: str) -> SymbolTable:
    """What a JIT compiler tells of its code; at addresses of memory."""
    table = SymbolTable()
    data = open_regular(path)
    try:
        text = data.read(0, min(data.size, _PERF_MAP_MAX))
    finally:
        data.close()
    found = _PERF_MAP_LINE.findall(text)
    if found:
        starts, sizes, names = zip(*found, strict=True)
        table.add(
            np.array([int(start, 16) for start in starts], np.uint64),
            np.array([int(size, 16) for size in sizes], np.uint64),
            np.full(len(names), GLOBAL, np.uint8),
            list(names),
        )
    return table
