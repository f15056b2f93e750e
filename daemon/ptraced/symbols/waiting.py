"""What waits for the process that finds symbols: users' stacks take turns."""

from __future__ import annotations

from collections import OrderedDict, deque

# Of a batch, the part that records may fill: they come in their order, but not instead of stacks.
_RECORDS_PART = 1 / 2


class Waiting:
    """Records in their order, and stacks of each user, none of which goes ahead of records
    that came before it. At most `most_stacks` wait: beyond, who has the most loses one.
    """

    def __init__(self, most_stacks: int) -> None:
        self.bytes = 0
        self.stacks = 0
        self._most_stacks = most_stacks
        self._records: deque[bytes] = deque()
        self._records_put = self._records_taken = 0
        # By user (uid) in the order of their turns: stack id, message, and the records that were
        # put before.
        self._users: OrderedDict[int, deque[tuple[int, bytes, int]]] = OrderedDict()

    def __bool__(self) -> bool:
        return bool(self._records or self._users)

    def put_records(self, message: bytes) -> None:
        self._records.append(message)
        self._records_put += 1
        self.bytes += len(message)

    def put_stack(self, uid: int, stack_id: int, message: bytes) -> list[bytes]:
        """Take a stack; returns messages of stacks for which there is no room: one at most."""
        if self.stacks >= self._most_stacks:
            most = max(self._users, key=lambda user: len(self._users[user]))
            if len(self._users[most]) <= len(self._users.get(uid, ())) + 1:
                return [message]
            dropped = [self._drop_last(most)]
        else:
            dropped = []
        self._users.setdefault(uid, deque()).append((stack_id, message, self._records_put))
        self.stacks += 1
        self.bytes += len(message)
        return dropped

    def take(self, most_bytes: int) -> list[tuple[int, bytes]]:
        """The next messages with their stack ids, until they have so many bytes; records have 0."""
        batch: list[tuple[int, bytes]] = []
        size = 0
        while self._records and size < most_bytes * _RECORDS_PART:
            message = self._records.popleft()
            self._records_taken += 1
            batch.append((0, message))
            size += len(message)
        turns = len(self._users)
        while turns and size < most_bytes:
            uid, stacks = self._users.popitem(last=False)
            if stacks[0][2] > self._records_taken:
                turns -= 1
            else:
                turns = len(self._users) + 1
                stack_id, message, _ = stacks.popleft()
                batch.append((stack_id, message))
                size += len(message)
                self.stacks -= 1
            if stacks:
                self._users[uid] = stacks
            else:
                turns = min(turns, len(self._users))
        self.bytes -= size
        return batch

    def clear(self) -> list[bytes]:
        """Forget all; returns the messages of stacks."""
        stacks = [message for queue in self._users.values() for _, message, _ in queue]
        self._users.clear()
        self._records.clear()
        self._records_taken = self._records_put
        self.bytes = self.stacks = 0
        return stacks

    def _drop_last(self, uid: int) -> bytes:
        _, message, _ = self._users[uid].pop()
        self.stacks -= 1
        self.bytes -= len(message)
        return message
