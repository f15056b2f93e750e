"""Stacks of a stream as the callchains of samples."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Final, NamedTuple

from ptrace_client.perf_data.model import CpuMode
from ptrace_proto import ptrace_pb2 as pb

# PERF_CONTEXT_KERNEL and PERF_CONTEXT_USER.
_KERNEL: Final = (1 << 64) - 128
_USER: Final = (1 << 64) - 512


class Chain(NamedTuple):
    """A callchain as samples have it, and the innermost address with its mode."""

    data: bytes
    ip: int
    mode: CpuMode


NO_CHAIN: Final = Chain(bytes(8), 0, CpuMode.KERNEL)


class Chains:
    """The stacks that a stream has carried so far and not told to forget."""

    def __init__(self) -> None:
        self._chains: dict[int, Chain] = {}

    def add(self, stacks: Iterable[pb.Stack]) -> None:
        """Take the stacks of a message, before its batches."""
        for stack in stacks:
            self._chains[stack.id] = _chain(stack)

    def forget(self, below: int) -> None:
        """Drop the stacks with numbers below `below`."""
        if below:
            self._chains = {number: it for number, it in self._chains.items() if number >= below}

    def __getitem__(self, number: int) -> Chain:
        return self._chains.get(number, NO_CHAIN)


def _chain(stack: pb.Stack) -> Chain:
    """Frames of the kernel whose addresses are hidden have none: they are left out."""
    kernel = [frame.address for frame in stack.frames if frame.kernel and frame.address]
    user = [frame.address for frame in stack.frames if not frame.kernel]
    words = [*([_KERNEL, *kernel] if kernel else []), *([_USER, *user] if user else [])]
    if not words:
        return NO_CHAIN
    data = struct.pack(f"<Q{len(words)}Q", len(words), *words)
    return Chain(data, words[1], CpuMode.KERNEL if kernel else CpuMode.USER)
