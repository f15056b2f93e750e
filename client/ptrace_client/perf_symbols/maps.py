"""The mappings of an address space, by perf's rules for those that overlap."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from ptrace_client.perf_symbols.model import Dso, Map

# Ends of others beside a mapping: one at either side, but where fork() laid them over each other.
_ENDS_MAX = 1000


class Maps:
    """Mappings by address. `frames` is what was worked out by them: emptied when they change."""

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._maps: list[Map] = []
        self.frames: dict[int, Any] = {}
        # The same for stacks that are unwound here.
        self.unwound: dict[int, Any] = {}
        # Callchains by their addresses' bytes (chains.py).
        self.chains: dict[bytes, Any] = {}
        # Another one after each change.
        self.version = 0
        self._lowest: dict[Dso, Map] = {}

    def __len__(self) -> int:
        return len(self._maps)

    def __iter__(self) -> Iterator[Map]:
        return iter(self._maps)

    def find(self, address: int) -> Map | None:
        """Return the mapping that an address lies in."""
        at = bisect_right(self._starts, address) - 1
        if at < 0:
            return None
        # The kernel's mapping may have got other ends since it was inserted.
        found = self._maps[at]
        return found if found.start <= address < found.end else None

    def by_name(self, short_name: str) -> Map | None:
        """Return a mapping of what is called so."""
        return next((found for found in self._maps if found.dso.short_name == short_name), None)

    def lowest(self, dso: Dso) -> Map | None:
        """Return the first mapping of a file."""
        if not self._lowest:
            for one in reversed(self._maps):
                self._lowest[one.dso] = one
        return self._lowest.get(dso)

    def insert(self, new: Map) -> None:
        """Add a mapping beside those that there are."""
        at = bisect_right(self._starts, new.start)
        self._starts.insert(at, new.start)
        self._maps.insert(at, new)
        self.forget()

    def replace(self, new: Map) -> None:
        """Add a mapping in place of what it covers, as mmap() does; the rest of that stays."""
        first = bisect_left(self._starts, new.start)
        if first and self._maps[first - 1].end > new.start:
            first -= 1
        last = bisect_left(self._starts, new.end, first)
        kept = [new]
        for old in self._maps[first:last]:
            if old.start < new.start:
                kept.insert(0, replace(old, end=new.start))
            if old.end > new.end:
                pgoff = old.pgoff + new.end - old.start
                kept.append(replace(old, start=new.end, pgoff=pgoff))
        if len(kept) > _ENDS_MAX:
            kept = [new]
        self._maps[first:last] = kept
        self._starts[first:last] = [part.start for part in kept]
        self.forget()

    def remove(self, old: Map) -> None:
        """Take a mapping out, if it is there."""
        if old in self._maps:
            at = self._maps.index(old)
            del self._maps[at], self._starts[at]
            self.forget()

    def forget(self) -> None:
        """Empty what was worked out."""
        self.frames.clear()
        self.unwound.clear()
        self.chains.clear()
        self.version += 1
        self._lowest.clear()

    def copy(self) -> Maps:
        """Return the same mappings for a new address space."""
        other = Maps()
        other._starts, other._maps = self._starts.copy(), self._maps.copy()
        return other

    def add_all(self, others: Maps) -> None:
        """Add the mappings of another address space, as fork() does."""
        self._maps = sorted([*self._maps, *others._maps], key=lambda one: one.start)
        self._starts = [one.start for one in self._maps]
        self.forget()
