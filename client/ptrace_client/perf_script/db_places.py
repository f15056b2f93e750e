"""Rows of files, symbols and paths of calls, before others refer to them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ptrace_client.perf_script.call_paths import CallPath, DbSymbol
from ptrace_client.perf_script.db_rows import MACHINE, Rows, signed64

if TYPE_CHECKING:
    from ptrace_client.perf_symbols.model import Dso, Location


class PlaceRows:
    """Exports places when they are first of use; `root` is where all paths of calls start."""

    def __init__(self, rows: Rows) -> None:
        self.root = CallPath()
        self._rows = rows
        self._dsos: dict[Dso, int] = {}
        # By file, start and name; those that perf makes up have the name None.
        self._symbols: dict[tuple[Dso, int, str | None], DbSymbol] = {}

    def is_known(self, location: Location) -> bool:
        """Whether a place has a symbol, if but a made up one."""
        map = location.map
        if map is None or location.symbol is not None:
            return True
        return (map.dso, map.to_file(location.address), None) in self._symbols

    def place(
        self, location: Location, *, unknown_at: int | None = None, anew: bool = False
    ) -> tuple[int, DbSymbol | None, int]:
        """Export where an address lies; return file's id, symbol, offset into it.

        What lies in a file outside its symbols gets a symbol of its own, at `unknown_at` where
        that is not the place in the file; `anew` makes another one than there may be.
        """
        map = location.map
        if map is None:
            return 0, None, 0
        dso = self._dso(map.dso)
        symbol = location.symbol
        if symbol is not None:
            columns = (symbol.start, symbol.end, symbol.binding)
            return dso, self._symbol(map.dso, symbol.name, columns), location.symbol_offset
        start = map.to_file(location.address)
        if unknown_at is not None and (map.dso, start, None) not in self._symbols:
            start = unknown_at
        return dso, self._symbol(map.dso, None, (start, start, 0), anew=anew), 0

    def _dso(self, dso: Dso) -> int:
        number = self._dsos.get(dso)
        if number is None:
            number = self._dsos[dso] = self._rows.new_id("dso_table")
            names = (dso.short_name, dso.long_name)
            self._rows.add("dso_table", number, MACHINE, *names, dso.build_id.hex())
        return number

    def _symbol(
        self, dso: Dso, name: str | None, place: tuple[int, int, int], *, anew: bool = False
    ) -> DbSymbol:
        """Export a symbol; `place` is its start, end and binding."""
        start, end, binding = place
        symbol = self._symbols.get((dso, start, name))
        if symbol is not None and not anew:
            return symbol
        new = DbSymbol(self._rows.new_id("symbol_table"))
        self._symbols.setdefault((dso, start, name), new)
        columns = (signed64(start), signed64(end), binding)
        text = "unknown" if name is None else name
        self._rows.add("symbol_table", new.db_id, self._dsos[dso], *columns, text)
        return new

    def path(self, frames: Sequence[Location]) -> int:
        """Export the path of calls that frames tell, leaf first; return its id, 0 for none."""
        path = self.root
        for frame in reversed(frames):
            _, symbol, _ = self.place(frame, unknown_at=frame.address)
            path = path.child(symbol, frame.address)
        return 0 if path is self.root else self.call_path(path)

    def call_path(self, path: CallPath) -> int:
        """Export a path, those that lead to it first; return its id."""
        missing = []
        at: CallPath | None = path
        while at is not None and not at.db_id:
            missing.append(at)
            at = at.parent
        for each in reversed(missing):
            each.db_id = self._rows.new_id("call_path_table")
            parent = each.parent.db_id if each.parent else 0
            self._rows.add(
                "call_path_table", each.db_id, parent, symbol_id(each.symbol), signed64(each.ip)
            )
        return path.db_id


def symbol_id(symbol: DbSymbol | None) -> int:
    """Return the id of a symbol, 0 for none."""
    return symbol.db_id if symbol else 0
