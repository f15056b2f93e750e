"""Call chains by the numbers that rows have for them."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from itertools import repeat
from operator import add, itemgetter
from typing import Any, Final

from ptrace_proto import ptrace_pb2 as pb

# What is not known, as perf-prof has it.
UNKNOWN: Final = "Unknown"

# A frame as scripts get it: addr, symbol, offset, kernel, dso. Chains share frames, and events
# share chains: nobody outside gets hold of either, but of copies.
Frame = dict[str, Any]
# Leaf first; empty where there is no stack.
Chain = tuple[Frame, ...]

_copy = dict.copy


class StackTable:
    """The stacks that a stream has carried so far and not told to forget."""

    def __init__(self) -> None:
        self._chains: dict[int, Chain] = {}
        # Each distinct frame once: chains have most of theirs in common.
        self._frames: dict[tuple[Any, ...], Frame] = {}

    def __len__(self) -> int:
        return len(self._chains)

    def add(self, stacks: Iterable[pb.Stack]) -> None:
        """Take the stacks of a message, before its batches."""
        for stack in stacks:
            self._chains[stack.id] = tuple(map(self._frame, stack.frames))

    def forget(self, below: int) -> None:
        """Drop the stacks with numbers below `below`, after the batches of a message.

        Events that have them keep them.
        """
        if not below:
            return
        self._chains = {number: it for number, it in self._chains.items() if number >= below}
        kept = (frame for chain in self._chains.values() for frame in chain)
        self._frames = {tuple(frame.values()): frame for frame in kept}

    def resolved(self, rows: Iterable[tuple[Any, ...]], place: int) -> Iterator[tuple[Any, ...]]:
        """Append to each row the chain whose number is at `place` of it.

        operator.length_hint() tells how many rows are left.
        """
        kept = list(rows)
        chains = map(self._chains.get, map(itemgetter(place), kept), repeat(()))
        return iter(list(map(add, kept, zip(chains))))

    def of(self, numbers: Iterable[int]) -> Stacks:
        """Return these stacks, and the empty one as number 0."""
        return Stacks({0: (), **{number: self._chains.get(number, ()) for number in numbers}})

    def _frame(self, frame: pb.Frame) -> Frame:
        symbol, dso = frame.symbol, frame.dso
        offset = frame.offset if symbol else 0
        key = (frame.address, symbol or UNKNOWN, offset, frame.kernel, dso or UNKNOWN)
        known = self._frames.get(key)
        if known is None:
            addr, symbol, offset, kernel, dso = key
            known = self._frames[key] = {
                "addr": addr,
                "symbol": sys.intern(symbol),
                "offset": offset,
                "kernel": kernel,
                "dso": sys.intern(dso),
            }
        return known


class Stacks(Mapping[int, list[Frame]]):
    """The stacks of a batch by number: lists of frames, leaf first, the caller's own."""

    def __init__(self, chains: Mapping[int, Chain]) -> None:
        self._chains = chains

    def __getitem__(self, number: int) -> list[Frame]:
        return frames_of(self._chains[number])

    def __iter__(self) -> Iterator[int]:
        return iter(self._chains)

    def __len__(self) -> int:
        return len(self._chains)


def frames_of(chain: Chain) -> list[Frame]:
    """Return what a script may keep and change: a fresh list of fresh frames."""
    return list(map(_copy, chain))


def chain_content(chain: Chain) -> tuple[Any, ...]:
    """Return what is equal and hashable for chains of equal frames."""
    return tuple(tuple(frame.values()) for frame in chain)
