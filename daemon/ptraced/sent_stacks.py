"""Which stacks a stream has carried: each goes out once, and is to be forgotten some day."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ptrace_proto import ptrace_pb2 as pb
from ptraced.stacks import Stack, StackTable

# A client is told to forget when it holds so many.
_HELD_MAX = 1 << 17
# Processes that a client is told of.
_NAMED_MAX = 10


class SentStacks:
    """The stacks that one client holds; with the kernel's addresses where it may see them."""

    def __init__(self, table: StackTable, addresses: bool = True, held: int = _HELD_MAX) -> None:
        self._table = table
        self._addresses = addresses
        self._held = held
        # With the cycle of each: numbers may come again.
        self._sent: dict[int, int] = {}
        self._told = 1
        self._named: set[int] = set()

    def new(self, stacks: Iterable[Stack]) -> Iterator[Stack]:
        """Yield those of the stacks that have not been sent, and note that they are now."""
        for stack in stacks:
            if self._sent.get(stack.id) != stack.cycle:
                self._sent[stack.id] = stack.cycle
                yield stack

    def data(self, stack: Stack) -> bytes:
        """The serialized pb.Stack for this client, of a stack whose frames are found."""
        assert stack.data is not None
        return stack.data if self._addresses else _without_addresses(stack.data)

    def silent_python(self, stack: Stack) -> str | None:
        """A sentence for the user, once per process, where its Python functions have no names."""
        file = self._table.silent_pythons.get(stack.process)
        if file is None or stack.process in self._named or len(self._named) >= _NAMED_MAX:
            return None
        self._named.add(stack.process)
        return (
            f"stacks of process {stack.process} name no Python functions: {file} has to be "
            "CPython 3.12 or later and started with -X perf (or PYTHONPERFSUPPORT=1)"
        )

    def forgotten(self, waiting: Iterable[int] = ()) -> int:
        """The number below which the client may forget its stacks; 0 for nothing new.

        Rows that wait still refer to stacks `waiting`.
        """
        table = self._table
        # What is below the last of a cycle may be of the next one.
        if len(self._sent) <= self._held or table.low_cycle != table.cycle:
            return 0
        lowest = min([table.low_water, *waiting])
        if lowest == self._told:
            return 0
        self._told = lowest
        self._sent = {
            number: cycle
            for number, cycle in self._sent.items()
            if number >= lowest and cycle == table.cycle
        }
        return lowest


def _without_addresses(stack: bytes) -> bytes:
    """A Stack whose frames of the kernel have symbol and offset, but no address."""
    parsed = pb.Stack.FromString(stack)
    for frame in parsed.frames:
        if frame.kernel:
            frame.address = 0
    return parsed.SerializeToString()
