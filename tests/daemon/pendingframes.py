"""Frames of stacks that are found when a test says so."""

from __future__ import annotations

from ptrace_proto import ptrace_pb2 as pb
from ptraced.stacks import StackTable


class PendingFrames:
    """In place of the symbolizer: notes what is asked for; see ptraced.stacks.Frames."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, int, int, bytes, bytes]] = []
        self.owners: list[int | None] = []

    def stack(
        self,
        stack_id: int,
        tgid: int,
        time: int,
        kernel: bytes,
        user: bytes,
        uid: int,
        owner: int | None,
    ) -> None:
        self.asked.append((stack_id, tgid, time, kernel, user))
        self.owners.append(owner)

    def answer(self, table: StackTable, *numbers: int) -> None:
        """Find the frames of these stacks: one frame each, called like its number."""
        table.resolve((number, message(number)) for number in numbers)


def message(number: int) -> bytes:
    """A serialized pb.Stack."""
    return pb.Stack(id=number, frames=[pb.Frame(symbol=f"f{number}")]).SerializeToString()
