"""What an address of a chain or a sample is to scripts, worked out once for each mapping."""

from __future__ import annotations

from typing import Any
from weakref import WeakSet

from ptrace_client.perf_symbols.dsos import LoadedDso
from ptrace_client.perf_symbols.kernel import Kernel
from ptrace_client.perf_symbols.loading import Loader
from ptrace_client.perf_symbols.maps import Maps
from ptrace_client.perf_symbols.model import Location, Map, Symbol
from ptrace_client.perf_symbols.sources import Inlined, Sources

_ADDRESSES = 1 << 64
# Frames that are kept, of all address spaces together: some hundred bytes each.
_CACHE_MAX = 200_000


class Frame:
    """An address and the entries that stand for it in chains, innermost inlined function first."""

    __slots__ = ("_entries", "_inlined", "location", "shown")
    # Of one without a mapping, which no file has.
    build_id = b""

    def __init__(self, location: Location, inlined: list[Inlined]) -> None:
        self.location = location
        self._inlined = inlined
        # Made when first asked for: samples need many locations that no chain has.
        self._entries: list[dict[str, Any]] | None = None
        # For whoever shows samples: what they are to be kept with, first of it whose it is.
        self.shown: tuple[Any, ...] = (None,)

    def add_fresh_entries(self, chain: list[dict[str, Any]]) -> None:
        """Append the entries, for scripts to change."""
        for known in self._entries or self.entries():
            entry = known.copy()
            if "sym" in entry:
                entry["sym"] = entry["sym"].copy()
            chain.append(entry)

    def entries(self) -> list[dict[str, Any]]:
        """Return the entries, which are the same each time."""
        if self._entries is None:
            shown = self._inlined or [Inlined(self.location.symbol, None)]
            self._entries = [_entry(self.location, one.symbol, one.srcline) for one in shown]
        return self._entries

    def locations(self) -> list[Location]:
        """Return one for each entry."""
        if not self._inlined:
            return [self.location]
        return [self.location._replace(symbol=one.symbol) for one in self._inlined]


class Frames:
    """Finds frames. With `sources`, inlined functions have their own entries."""

    def __init__(self, loader: Loader, kernel: Kernel, sources: Sources | None) -> None:
        self._loader = loader
        self._kernel = kernel
        self._sources = sources
        # Address spaces of which frames are kept, and how many frames.
        self._used: WeakSet[Maps] = WeakSet()
        self._count = 0

    def find(self, maps: Maps | None, address: int) -> Frame:
        """Return the frame of an address among mappings; None: it cannot be in any."""
        if maps is None:
            return Frame(Location(address, None, None, 0), [])
        frame: Frame | None = maps.frames.get(address)
        if frame is None:
            frame = self._kept(maps, maps.frames, address, self._sources)
        return frame

    def find_unwound(self, maps: Maps, address: int, sources: Sources) -> Frame:
        """Return the frame of an unwound stack: of these perf expands the inlined functions."""
        frame: Frame | None = maps.unwound.get(address)
        if frame is None:
            frame = self._kept(maps, maps.unwound, address, sources)
        return frame

    def _kept(
        self, maps: Maps, frames: dict[int, Frame], address: int, sources: Sources | None
    ) -> Frame:
        if self._count >= _CACHE_MAX:
            for used in self._used:
                used.forget()
            self._used.clear()
            self._count = 0
        self._count += 1
        if not frames:
            self._used.add(maps)
        frame = frames[address] = self._make(maps, address, sources)
        return frame

    def _make(self, maps: Maps, address: int, sources: Sources | None) -> Frame:
        location = self.place(maps, address)
        inlined = sources.inlined(location) if sources and location.symbol else []
        return Frame(location, inlined)

    def place(self, maps: Maps, address: int) -> Location:
        """Return where an address lies among mappings: one that is not likely to come again."""
        found = maps.find(address)
        if found is None:
            return Location(address, None, None, 0)
        if maps is self._kernel.maps:
            self._kernel.load()
        dso = found.dso
        assert isinstance(dso, LoadedDso)
        place = found.to_file(address) % _ADDRESSES
        table = dso.symbols
        symbol = (self._loader.load(dso) if table is None else table).find(place)
        offset = 0 if symbol is None else _offset(found, symbol, place)
        return Location(address, found, symbol, offset)


def _offset(map: Map, symbol: Symbol, place: int) -> int:
    if place < symbol.end:
        return place - symbol.start
    return (place - map.start - symbol.start) % _ADDRESSES


def _entry(location: Location, symbol: Symbol | None, srcline: str | None) -> dict[str, Any]:
    entry: dict[str, Any] = {"ip": location.address}
    if symbol is not None:
        start, end, binding, name = symbol
        entry["sym"] = {"start": start, "end": end, "binding": binding, "name": name}
        if location.map is not None:
            place = location.map.to_file(location.address) % _ADDRESSES
            entry["sym_off"] = _offset(location.map, symbol, place)
        if srcline is not None and srcline != ":0":
            entry["sym_srcline"] = srcline
    if location.map is not None:
        entry["dso"] = location.map.dso.name
    return entry
