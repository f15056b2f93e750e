"""Source lines of addresses, and the functions that were inlined there."""

from __future__ import annotations

from collections import OrderedDict
from typing import NamedTuple

from ptrace_client.perf_symbols.addr2line import Addr2line, SourceLine
from ptrace_client.perf_symbols.dsos import LoadedDso
from ptrace_client.perf_symbols.loading import Loader
from ptrace_client.perf_symbols.model import Location, Symbol

# Source files that are kept, and bytes of one.
_FILES_MAX = 32
_FILE_MAX = 16 << 20


class Inlined(NamedTuple):
    """A function in which an address lies, and where in its source ("file.c:12")."""

    symbol: Symbol | None
    srcline: str | None


class Sources:
    """Asks addr2line for the files that a Loader found."""

    def __init__(self, loader: Loader) -> None:
        self._loader = loader
        self._addr2line = Addr2line()
        self._texts: OrderedDict[str, list[str]] = OrderedDict()

    def line(self, location: Location) -> tuple[str | None, int]:
        """Return (path, line) of the innermost function; (None, 0) where not known."""
        found = self._lines(location)
        return (found[0].path, found[0].line) if found else (None, 0)

    def code(self, location: Location) -> tuple[str | None, int, str | None]:
        """Return (path, line, text of the line)."""
        path, line = self.line(location)
        if path is None:
            return None, 0, None
        text = self._text(path)
        return path, line, text[line - 1] if 0 < line <= len(text) else None

    def inlined(self, location: Location) -> list[Inlined]:
        """Return the functions that an address lies in, innermost first; empty if not known."""
        return [self._inlined(location, line) for line in self._lines(location)]

    def close(self) -> None:
        """End the children that answer."""
        self._addr2line.close()

    def _inlined(self, location: Location, line: SourceLine) -> Inlined:
        name = self._loader.demangle(line.function)
        base = location.symbol
        symbol = Symbol(0, 0, 0, name) if base is None else base._replace(name=name)
        return Inlined(symbol, f"{line.path.rpartition('/')[2]}:{line.line}")

    def _lines(self, location: Location) -> list[SourceLine]:
        map = location.map
        if map is None or not isinstance(map.dso, LoadedDso) or map.dso.is_kernel:
            return []
        self._loader.load(map.dso)
        path = self._loader.source_file(map.dso)
        if path is None:
            return []
        place = map.to_file(location.address) + map.dso.text_offset
        return self._addr2line.lines(path, place % (1 << 64))

    def _text(self, path: str) -> list[str]:
        found = self._texts.pop(path, None)
        if found is None:
            found = _read_lines(path)
            if len(self._texts) >= _FILES_MAX:
                self._texts.popitem(last=False)
        self._texts[path] = found
        return found


def _read_lines(path: str) -> list[str]:
    from ptrace_elf.elf import ElfError, open_regular

    try:
        data = open_regular(path)
    except (OSError, ValueError):
        return []
    try:
        return data.read(0, min(data.size, _FILE_MAX)).decode(errors="replace").split("\n")
    except (OSError, ElfError):
        return []
    finally:
        data.close()
