"""Batches that wait for their client, and all that they hold on to, in a bound of bytes."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from ptraced.quotas.queue_room import Share
from ptraced.rows import Rows
from ptraced.stacks import Stack

# The Python objects around the rows of a batch that waits.
_BATCH_BYTES = 256


@dataclass(frozen=True, slots=True)
class QueuedBatch:
    """A batch, and the mark (ns) that was the latest when it came: it stands behind that."""

    schema_id: int
    cpu: int
    rows: Rows
    mark: int

    @property
    def is_complete(self) -> bool:
        """Whether the frames of all of its stacks have been found."""
        return all(stack.data is not None for stack in self.rows.stacks)


@dataclass(slots=True)
class _WaitingStack:
    batches: int
    cost: int


class BatchQueue:
    """A queue of at most so many bytes, which it takes of `share`. Its owner has the lock."""

    def __init__(self, most_bytes: int, share: Share) -> None:
        self.bytes = 0
        self._share = share
        self._most = most_bytes
        self._batches: deque[QueuedBatch] = deque()
        # The stacks that batches refer to; each is charged once.
        self._stacks: dict[int, _WaitingStack] = {}

    def __bool__(self) -> bool:
        return bool(self._batches)

    @property
    def first(self) -> QueuedBatch:
        return self._batches[0]

    @property
    def stacks(self) -> Collection[int]:
        """Numbers of the stacks that batches in the queue refer to."""
        return self._stacks.keys()

    def put(self, batch: QueuedBatch) -> bool:
        """Take a batch; False where there is no room for it."""
        new = [stack for stack in batch.rows.stacks if stack.id not in self._stacks]
        cost = _cost(batch.rows) + sum(stack.cost for stack in new)
        if self.bytes + cost > self._most or not self._share.take(cost):
            return False
        self._batches.append(batch)
        self.bytes += cost
        for stack in new:
            self._stacks[stack.id] = _WaitingStack(0, stack.cost)
        for stack in batch.rows.stacks:
            self._stacks[stack.id].batches += 1
        return True

    def take(self, most_bytes: int) -> list[QueuedBatch]:
        """The next batches that are complete, until their rows have so many bytes."""
        batches: list[QueuedBatch] = []
        size = 0
        while self._batches and size < most_bytes and self.first.is_complete:
            batches.append(self._batches.popleft())
            rows = batches[-1].rows
            size += len(rows.data)
            free = _cost(rows) + sum(map(self._released, rows.stacks))
            self.bytes -= free
            self._share.give_back(free)
        return batches

    @property
    def waiting(self) -> Iterable[QueuedBatch]:
        """The batches, in their order."""
        return self._batches

    def clear(self) -> None:
        self._batches.clear()
        self._stacks.clear()
        self._share.give_back(self.bytes)
        self.bytes = 0

    def _released(self, stack: Stack) -> int:
        """Bytes that are free again as one batch less refers to a stack."""
        waiting = self._stacks[stack.id]
        waiting.batches -= 1
        if waiting.batches:
            return 0
        return self._stacks.pop(stack.id).cost


def _cost(rows: Rows) -> int:
    """Bytes that a batch takes while it waits: many of one row each take much more than rows."""
    return len(rows.data) + _BATCH_BYTES
