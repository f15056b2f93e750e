"""Loads the symbols of files when they are first asked for, and imports what reads them then."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ptrace_client.perf_symbols.demangle import Demangler
from ptrace_client.perf_symbols.dsos import LoadedDso
from ptrace_client.perf_symbols.numbers import load_numpy

if TYPE_CHECKING:
    from ptrace_client.perf_symbols.kallsyms_lines import KallsymsLines
    from ptrace_client.perf_symbols.table import SymbolTable


class Loader:
    """`symfs` is the folder in which recorded paths start, "" for that of this machine."""

    def __init__(self, symfs: str) -> None:
        self.symfs = symfs.rstrip("/")
        self.demangler = Demangler()

    def demangle(self, name: bytes) -> str:
        """Return a name as it is shown."""
        return self.demangler([name])[0]

    def load(self, dso: LoadedDso) -> SymbolTable | KallsymsLines:
        """Return the symbols of a file; empty where none are found."""
        if dso.symbols is None:
            load_numpy()
            from ptrace_client.perf_symbols.file_symbols import load_symbols

            dso.symbols = load_symbols(dso, self.symfs, self.demangler)
        return dso.symbols

    def source_file(self, dso: LoadedDso) -> str | None:
        """Return the file to ask for lines; None where nothing is to be asked."""
        if dso.symbol_file is not None:
            return dso.symbol_file
        return self.path(dso)

    def path(self, dso: LoadedDso) -> str | None:
        """Return where the file itself is, None where it is not the one that was recorded."""
        # What is no path at all would be looked for wherever we are.
        if not dso.long_name.startswith("/") or dso.long_name.startswith("/tmp/perf-"):
            return None
        from ptrace_client.perf_symbols.file_symbols import fits
        from ptrace_client.perf_symbols.files import opened

        path = self.symfs + dso.long_name
        with opened(path) as elf:
            return path if elf is not None and fits(dso, elf) else None

    def close(self) -> None:
        """End what runs for it."""
        self.demangler.close()
