"""Which stacks a stream has carried: each goes out once, and is to be forgotten some day."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ptraced.stacks import Stack, StackTable

# A client is told to forget when it holds so many.
_HELD_MAX = 1 << 17
# Processes that a client is told of.
_NAMED_MAX = 10


class SentStacks:
    """The stacks that one client holds."""

    def __init__(self, table: StackTable, held: int = _HELD_MAX) -> None:
        self._table = table
        self._held = held
        self._sent: set[int] = set()
        self._told = 1
        self._named: set[int] = set()

    def new(self, stacks: Iterable[Stack]) -> Iterator[Stack]:
        """Yield those of the stacks that have not been sent, and note that they are now."""
        for stack in stacks:
            if stack.id not in self._sent:
                self._sent.add(stack.id)
                yield stack

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
        if len(self._sent) <= self._held:
            return 0
        lowest = min([self._table.low_water, *waiting])
        if lowest == self._told:
            return 0
        self._told = lowest
        self._sent = {number for number in self._sent if number >= lowest}
        return lowest
