"""What the daemon and the process that finds symbols say to each other."""

from __future__ import annotations

import enum
import struct
from collections.abc import Iterator

from ptraced.symbols.frames import unresolved_stack

_HEADER = struct.Struct("=IB")
# Before the addresses of a stack: its id, the process, the time in ns, bytes that are the
# kernel's, whose the process has to be (ANYBODY: no matter); before a resolved one: its id; before
# a path: the process.
STACK_HEAD = struct.Struct("=IIQII")
# No uid: (uid_t) -1.
ANYBODY = 0xFFFF_FFFF
NUMBER = struct.Struct("=I")


class Kind(enum.IntEnum):
    """To the process come RECORDS and STACK, the others are its answers."""

    # Raw records of task_records.py.
    RECORDS = 0
    # STACK_HEAD, then addresses, the kernel's before the user's.
    STACK = 1
    # NUMBER, then a pb.Stack.
    RESOLVED = 2
    # NUMBER, then the path of an interpreter: Python functions of the process are not known.
    WITHOUT_MAP = 3
    # A line for the daemon's log.
    COMPLAINT = 4
    # As RESOLVED, with addresses only, for now.
    GIVEN_UP = 5


def packed(kind: Kind, *parts: bytes) -> bytes:
    """A message as it is sent."""
    body = b"".join(parts)
    return _HEADER.pack(len(body), kind) + body


class Splitter:
    """Messages out of a stream of bytes that comes in pieces."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, piece: bytes) -> Iterator[tuple[int, memoryview]]:
        """The kinds and bodies of all messages that are complete with this piece."""
        data = memoryview(self._rest + piece if self._rest else piece)
        at = 0
        while at + _HEADER.size <= len(data):
            size, kind = _HEADER.unpack_from(data, at)
            end = at + _HEADER.size + size
            if end > len(data):
                break
            yield kind, data[at + _HEADER.size : end]
            at = end
        self._rest = bytes(data[at:])


def addresses_only(message: bytes) -> tuple[int, bytes]:
    """The id of the stack that a message asks about, and the pb.Stack if nobody resolves it."""
    body = message[_HEADER.size :]
    stack_id, _, _, kernel_bytes, _ = STACK_HEAD.unpack_from(body)
    addresses = body[STACK_HEAD.size :]
    return stack_id, unresolved_stack(stack_id, addresses[:kernel_bytes], addresses[kernel_bytes:])
