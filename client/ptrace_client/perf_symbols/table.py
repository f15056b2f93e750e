"""Symbols by address, by perf's rules for those that lie at one address or have no size."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptrace_client.perf_symbols.aliases import Alias, goes_first
from ptrace_client.perf_symbols.model import Symbol

_PAGE = 4096
# Symbols that may lie, nested, between a function's start and an address in it.
_NESTED_MAX = 64

Numbers = NDArray[np.uint64]
# Gives names as they are shown for names as files have them.
Demangle = Callable[[Sequence[bytes]], list[str]]


def plain(names: Sequence[bytes]) -> list[str]:
    """Return names as they are; bytes that are not UTF-8 as surrogates."""
    return [name.decode(errors="surrogateescape") for name in names]


class SymbolTable:
    """The symbols of one file or image, sorted by start."""

    def __init__(self, demangle: Demangle = plain) -> None:
        self._demangle = demangle
        self._starts: Numbers = np.empty(0, np.uint64)
        self._ends: Numbers = np.empty(0, np.uint64)
        self._bindings: NDArray[Any] = np.empty(0, np.uint8)
        self._names: list[bytes] = []
        # What find() needs: made when first used.
        self._by_start: list[int] | None = None
        self._by_end: list[int] = []
        self._reach: list[int] = []
        self._made: dict[int, Symbol] = {}

    def __len__(self) -> int:
        return len(self._starts)

    @property
    def first_start(self) -> int:
        """Start of the first symbol."""
        return int(self._starts[0])

    @property
    def last_end(self) -> int:
        """End of the last symbol."""
        return int(self._ends[-1])

    def add(
        self, starts: Numbers, sizes: Numbers, bindings: NDArray[Any], names: list[bytes]
    ) -> None:
        """Add symbols behind those that there are at the same addresses."""
        ends = np.concatenate((self._ends, starts + sizes))
        starts = np.concatenate((self._starts, starts))
        order = np.argsort(starts, kind="stable")
        self._starts, self._ends = starts[order], ends[order]
        self._bindings = np.concatenate((self._bindings, bindings.astype(np.uint8)))[order]
        every = self._names + names
        self._names = [every[index] for index in order.tolist()]
        self._by_start = None

    def end_those_without_size(self, *, modules: bool = False) -> None:
        """Let each symbol without a size reach up to the next one, the last to a page's end.

        With `modules`, the last of the kernel or of a module ("name\\t[module]") does so too.
        """
        if not len(self):
            return
        empty = self._ends == self._starts
        following = np.append(self._starts[1:], _up_to_page(self._starts[-1:]) + np.uint64(_PAGE))
        ends = np.where(empty, following, self._ends)
        if modules:
            inside = np.array([b"[" in name for name in self._names])
            last = np.append(inside[:-1] != inside[1:], False) & empty
            ends[last] = _up_to_page(self._ends[last] + np.uint64(_PAGE))
        self._ends = ends
        self._by_start = None

    def drop_aliases(self) -> None:
        """Keep one of the symbols that start at one address."""
        again = np.flatnonzero(self._starts[1:] == self._starts[:-1]) + 1
        if not len(again):
            return
        names = self._shown_names(sorted({*(again - 1).tolist(), *again.tolist()}))
        dropped = []
        best = 0
        previous = -1
        for index in again.tolist():
            if index - 1 != previous:
                best = index - 1
            previous = index
            if self._goes_first(best, index, names):
                dropped.append(index)
            else:
                dropped.append(best)
                best = index
        keep = np.ones(len(self), bool)
        keep[dropped] = False
        self._keep(keep)

    def select(self, chosen: NDArray[Any], move: int = 0) -> SymbolTable:
        """Return those of `chosen` (a mask) alone, at addresses that are `move` higher."""
        other = SymbolTable(self._demangle)
        other._starts, other._ends = self._starts, self._ends
        other._bindings, other._names = self._bindings, self._names
        other._keep(chosen)
        by = np.uint64(move % (1 << 64))
        other._starts, other._ends = other._starts + by, other._ends + by
        return other

    def rename(self, change: Callable[[bytes], bytes]) -> None:
        """Change all names."""
        self._names = [change(name) for name in self._names]

    @property
    def names(self) -> list[bytes]:
        """The names as the file has them, in order of address."""
        return self._names

    def start_of(self, name: bytes) -> int | None:
        """Return the address of the first symbol of that name."""
        try:
            return int(self._starts[self._names.index(name)])
        except ValueError:
            return None

    def find(self, address: int) -> Symbol | None:
        """Return the symbol that an address lies in, the innermost if there are several."""
        if self._by_start is None:
            self._by_start = self._starts.tolist()
            self._by_end = self._ends.tolist()
            self._reach = list(accumulate(self._by_end, max))
            self._made.clear()
        at = bisect_right(self._by_start, address) - 1
        for index in range(at, max(-1, at - _NESTED_MAX), -1):
            if address < self._by_end[index] or address == self._by_start[index]:
                return self._made.get(index) or self._make(index)
            if self._reach[index] <= address:
                return None
        return None

    def _make(self, index: int) -> Symbol:
        (name,) = self._demangle(self._names[index : index + 1])
        start, end = int(self._starts[index]), int(self._ends[index])
        symbol = self._made[index] = Symbol(start, end, int(self._bindings[index]), name)
        return symbol

    def _keep(self, keep: NDArray[Any]) -> None:
        self._starts, self._ends = self._starts[keep], self._ends[keep]
        self._bindings = self._bindings[keep]
        self._names = [self._names[index] for index in np.flatnonzero(keep).tolist()]
        self._by_start = None

    def _shown_names(self, indices: list[int]) -> dict[int, str]:
        shown = self._demangle([self._names[index] for index in indices])
        return dict(zip(indices, shown, strict=True))

    def _goes_first(self, one: int, other: int, names: dict[int, str]) -> bool:
        """Whether perf prefers `one` over `other`, which comes later."""
        return goes_first(self._alias(one, names), self._alias(other, names))

    def _alias(self, index: int, names: dict[int, str]) -> Alias:
        has_size = bool(self._ends[index] > self._starts[index])
        return Alias(has_size, int(self._bindings[index]), names[index])


def _up_to_page(addresses: Numbers) -> Numbers:
    return (addresses + np.uint64(_PAGE - 1)) & np.uint64(~(_PAGE - 1) % (1 << 64))
