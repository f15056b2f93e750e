"""Callchains as scripts get them, each resolved once for an address space."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeAlias
from weakref import WeakSet

from ptrace_client.perf_symbols.frames import Frame
from ptrace_client.perf_symbols.maps import Maps

# What is kept of all address spaces: addresses, and for each chain as much as that many take.
_CACHE_MAX: Final = 1 << 20
_OF_CHAIN: Final = 16
_COPY: Final = dict[str, Any].copy

# The frames of a chain's addresses, for a pid and a tid.
Resolve: TypeAlias = Callable[[Sequence[int], int, int], list[Frame] | None]
# The entries, and what those that have one have as their symbol: (place, symbol).
_Known: TypeAlias = tuple[list[dict[str, Any]], list[tuple[int, dict[str, Any]]]]


class Chains:
    """Makes fresh entries for the addresses of samples; `kernel` are the kernel's mappings."""

    def __init__(self, resolve: Resolve, kernel: Maps, byte_order: str) -> None:
        self._resolve = resolve
        self._kernel = kernel
        self._byte_order = byte_order
        # That of the kernel's mappings to which all that is kept belongs.
        self._version = kernel.version
        self._used: WeakSet[Maps] = WeakSet()
        self._size = 0

    def entries(self, maps: Maps, addresses: bytes, pid: int, tid: int) -> list[dict[str, Any]]:
        """Return the entries of a chain, for scripts to change; `maps` are those of the thread."""
        if self._version != self._kernel.version:
            self._forget()
        entries, symbols = maps.chains.get(addresses) or self._make(maps, addresses, pid, tid)
        fresh = [*map(_COPY, entries)]
        for place, symbol in symbols:
            fresh[place]["sym"] = symbol.copy()
        return fresh

    def _forget(self) -> None:
        for used in self._used:
            used.chains.clear()
        self._used.clear()
        self._size = 0
        self._version = self._kernel.version

    def _make(self, maps: Maps, addresses: bytes, pid: int, tid: int) -> _Known:
        count = len(addresses) // 8
        numbers = struct.unpack(f"{self._byte_order}{count}Q", addresses)
        frames = self._resolve(numbers, pid, tid) or ()
        entries = [entry for frame in frames for entry in frame.entries()]
        symbols = [(place, entry["sym"]) for place, entry in enumerate(entries) if "sym" in entry]
        if self._size > _CACHE_MAX:
            self._forget()
        self._size += count + _OF_CHAIN
        if not maps.chains:
            self._used.add(maps)
        known = maps.chains[addresses] = entries, symbols
        return known
