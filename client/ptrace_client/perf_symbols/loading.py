"""Finds the symbols of what user processes map: files, jitted code, the vdso."""

from __future__ import annotations

import re

import numpy as np

from ptrace_client.perf_symbols.demangle import Demangler
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
from ptrace_client.perf_symbols.table import GLOBAL, SymbolTable
from ptrace_elf.elf import Elf, ElfError, open_regular

_PERF_MAP_MAX = 256 << 20
# tools/perf/Documentation/jit-interface.txt: start and size in hex, then the name.
_PERF_MAP_LINE = re.compile(
    rb"^(?:0x)?([0-9a-fA-F]{1,16}) (?:0x)?([0-9a-fA-F]{1,16}) (.{3,})$", re.M
)


class Loader:
    """Loads symbols when they are first asked for; `symfs` is where recorded paths start."""

    def __init__(self, symfs: str) -> None:
        self._symfs = symfs.rstrip("/")
        self._demangler = Demangler()

    def demangle(self, name: bytes) -> str:
        """Return a name as it is shown."""
        return self._demangler([name])[0]

    def load(self, dso: LoadedDso) -> SymbolTable:
        """Return the symbols of a file; empty where none are found."""
        if dso.symbols is None:
            try:
                dso.symbols = self._load(dso)
            except (ElfError, OSError, ValueError, MemoryError):
                dso.symbols = SymbolTable()
        return dso.symbols

    def source_file(self, dso: LoadedDso) -> str | None:
        """Return the file to ask for lines; None where nothing is to be asked."""
        if dso.symbol_file is not None:
            return dso.symbol_file
        if dso.long_name.startswith(("[", "/tmp/perf-")):
            return None
        path = self._symfs + dso.long_name
        with opened(path) as elf:
            return path if elf is not None and _fits(dso, elf) else None

    def close(self) -> None:
        """End what runs for it."""
        self._demangler.close()

    def _load(self, dso: LoadedDso) -> SymbolTable:
        if PERF_MAP.fullmatch(dso.name):
            return _read_perf_map(dso.name)
        if not dso.name.startswith(("/", "[")) and not self._symfs:
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
                if elf is None or not _fits(dso, elf):
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
            vdso = own_vdso() if dso.name == VDSO and not self._symfs else None
            if vdso is None or not _fits(dso, vdso):
                return SymbolTable()
            return read_symbols(vdso, vdso)
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


def _fits(dso: LoadedDso, elf: Elf) -> bool:
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
