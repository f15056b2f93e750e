"""Records as they come through a pipe: `perf record -o - | ...`."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Final

from ptrace_client.errors import ClientError
from ptrace_client.perf_data.cursor import damage
from ptrace_client.perf_data.header import PIPE_HEADER_SIZE, byte_order
from ptrace_client.perf_data.model import Record
from ptrace_client.perf_data.scan import Scan

# Bytes to ask for at once; what there is comes, so nothing waits for that many.
_CHUNK: Final = 1 << 20


class Pipe:
    """Reads a descriptor, which close() closes. The header is read when it is made."""

    def __init__(self, path: str, descriptor: int) -> None:
        self._path = path
        self._descriptor = descriptor
        # Where the next stretch starts, from the start of all, and what is left of the last.
        self._position = PIPE_HEADER_SIZE
        self._left = b""
        try:
            self.order = self._read_header()
        except BaseException:
            self.close()
            raise

    def _read_header(self) -> str:
        start = self._at_least(b"", PIPE_HEADER_SIZE)
        if not start:
            raise ClientError(f"{self._path}: nothing came; what was to record has failed")
        order, is_pipe = byte_order(start[:PIPE_HEADER_SIZE], self._path)
        if not is_pipe:
            raise ClientError(
                f"{self._path}: this is a perf.data file, whose parts are not in their order; "
                "give its name instead of piping it"
            )
        self._left = start[PIPE_HEADER_SIZE:]
        return order

    def batches(self, scan: Scan) -> Iterator[Sequence[Record]]:
        """Yield the records in portions, as soon as it is known that nothing comes in between."""
        data = self._at_least(self._left, scan.wanted)
        while True:
            scan.base = self._position
            scan.rounds.hold(len(data))
            stopped = yield from scan.stretch(data, 0, len(data))
            self._position += stopped
            self._left = data[stopped:]
            if stopped > len(data) and not self._skip(stopped - len(data)):
                break
            known = len(self._left)
            data = self._at_least(self._left, max(scan.wanted, known + 1))
            if len(data) == known:
                break
        yield scan.rounds.rest()

    def check_end(self) -> None:
        """Raise ClientError where the pipe ended within a record."""
        if self._left:
            raise damage(
                f"{self._path}: records", self._position, "the pipe ends in the middle of one"
            )

    def close(self) -> None:
        """Close the descriptor."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _at_least(self, start: bytes, wanted: int) -> bytes:
        """Return `start` and what follows, `wanted` bytes or more unless the pipe ends."""
        parts, size = [start], len(start)
        while size < wanted:
            part = self._read(max(_CHUNK, wanted - size))
            if not part:
                break
            parts.append(part)
            size += len(part)
        return b"".join(parts)

    def _skip(self, size: int) -> bool:
        """Read over bytes; return whether they were all there."""
        while size > 0:
            part = self._read(min(_CHUNK, size))
            if not part:
                self._left = b"\0"
                return False
            size -= len(part)
        return True

    def _read(self, size: int) -> bytes:
        try:
            return os.read(self._descriptor, size)
        except OSError as error:
            raise ClientError(f"cannot read {self._path}: {error}", 1) from None
