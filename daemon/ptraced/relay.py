"""Bytes between two connected streams, both ways, without a thread and without waiting."""

from __future__ import annotations

import select
import socket
from typing import Protocol

# What a read takes at most. A sender's socket buffer holds about 200 KiB by default.
BUFFER_BYTES = 1 << 20


class Stream(Protocol):
    """A connected socket that does not block, and what may lie between it and its bytes.

    `read_event` and `write_event` are the epoll(7) events after which a read, or a write, that
    could not go on may do so.
    """

    read_event: int
    write_event: int

    def fileno(self) -> int: ...

    def read(self, buffer: memoryview) -> int | None:
        """Read into `buffer`: how much; 0 at the end, None where nothing is there yet."""

    def write(self, content: memoryview) -> int:
        """Write what can be written now; how much."""

    def end(self) -> None:
        """Tell the other side that nothing follows."""

    def close(self) -> None: ...


class PlainStream:
    """A socket as it is. All but `close` raise OSError where the other side is gone."""

    read_event = select.EPOLLIN
    write_event = select.EPOLLOUT

    def __init__(self, connected: socket.socket) -> None:
        connected.setblocking(False)
        self._socket = connected
        self.fileno = connected.fileno
        self.close = connected.close

    def read(self, buffer: memoryview) -> int | None:
        try:
            return self._socket.recv_into(buffer)
        except BlockingIOError:
            return None

    def write(self, content: memoryview) -> int:
        try:
            return self._socket.send(content)
        except BlockingIOError:
            return 0

    def end(self) -> None:
        self._socket.shutdown(socket.SHUT_WR)


class Way:
    """One direction of a relay.

    It holds what was read and not taken yet by the other side, and reads no more meanwhile:
    a receiver that is slow makes its sender slow, and nobody else.
    """

    def __init__(self, source: Stream, target: Stream, held: bytes = b"") -> None:
        self.source = source
        self.target = target
        self.finished = False
        self.moved = len(held)
        self._held = memoryview(held)

    @property
    def reads(self) -> bool:
        return not self.finished and not self._held

    @property
    def writes(self) -> bool:
        return bool(self._held)

    def move(self, buffer: memoryview) -> None:
        """Move what can be moved now; raises OSError where a side is gone."""
        if self._held:
            self._held = self._held[self.target.write(self._held) :]
            if self._held:
                return
        size = self.source.read(buffer)
        if size is None:
            return
        if not size:
            self.finished = True
            self.target.end()
            return
        self.moved += size
        sent = self.target.write(buffer[:size])
        if sent < size:
            self._held = memoryview(bytes(buffer[sent:size]))


class Relay:
    """Two streams whose bytes go to each other, until the client has ended or one is gone.

    `held` was read from the client already.
    """

    def __init__(self, client: Stream, inner: Stream, held: bytes = b"") -> None:
        self.client = client
        self.inner = inner
        self._up = Way(client, inner, held)
        self._down = Way(inner, client)
        self._ways = (self._up, self._down)

    @property
    def finished(self) -> bool:
        """Whether all is over: clients of gRPC end when they are gone, and read no more.

        gRPC itself may take its time to see that, and each connection counts.
        """
        return self._up.finished

    @property
    def bytes_up(self) -> int:
        """Bytes that the client sent."""
        return self._up.moved

    @property
    def bytes_down(self) -> int:
        """Bytes that the client was sent."""
        return self._down.moved

    def wanted(self, side: Stream) -> int:
        """The epoll(7) events to wait for on a side; 0: none, not even a hang-up."""
        events = 0
        for way in self._ways:
            if way.source is side and way.reads:
                events |= side.read_event
            if way.target is side and way.writes:
                events |= side.write_event
        return events

    def move(self, side: Stream, buffer: memoryview) -> None:
        """Serve a side that is ready for something it was wanted for; raises OSError."""
        for way in self._ways:
            if (way.source is side and way.reads) or (way.target is side and way.writes):
                way.move(buffer)

    def close(self) -> None:
        self.client.close()
        self.inner.close()
