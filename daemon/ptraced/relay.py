"""Bytes between two connected sockets, both ways, without a thread and without waiting."""

from __future__ import annotations

import select
import socket

# What a read takes at most. A sender's socket buffer holds about 200 KiB by default.
BUFFER_BYTES = 1 << 20


class Way:
    """One direction of a relay.

    It holds what was read and not taken yet by the other side, and reads no more meanwhile:
    a receiver that is slow makes its sender slow, and nobody else.
    """

    def __init__(self, source: socket.socket, target: socket.socket) -> None:
        self.source = source
        self.target = target
        self.finished = False
        self._held = memoryview(b"")

    @property
    def reads(self) -> bool:
        return not self.finished and not self._held

    @property
    def writes(self) -> bool:
        return bool(self._held)

    def move(self, buffer: memoryview) -> None:
        """Move what can be moved now; raises OSError where a side is gone."""
        if self._held:
            self._held = self._held[_send(self.target, self._held) :]
            if self._held:
                return
        try:
            size = self.source.recv_into(buffer)
        except BlockingIOError:
            return
        if not size:
            self.finished = True
            self.target.shutdown(socket.SHUT_WR)
            return
        sent = _send(self.target, buffer[:size])
        if sent < size:
            self._held = memoryview(bytes(buffer[sent:size]))


class Relay:
    """Two sockets whose bytes go to each other, until both have ended or one is gone."""

    def __init__(self, client: socket.socket, inner: socket.socket) -> None:
        self.client = client
        self.inner = inner
        self._ways = (Way(client, inner), Way(inner, client))

    @property
    def finished(self) -> bool:
        return all(way.finished for way in self._ways)

    def wanted(self, side: socket.socket) -> int:
        """The epoll(7) events to wait for on a side; 0: none, not even a hang-up."""
        events = 0
        for way in self._ways:
            if way.source is side and way.reads:
                events |= select.EPOLLIN
            if way.target is side and way.writes:
                events |= select.EPOLLOUT
        return events

    def move(self, side: socket.socket, buffer: memoryview) -> None:
        """Serve a side that is ready for something it was wanted for; raises OSError."""
        for way in self._ways:
            if (way.source is side and way.reads) or (way.target is side and way.writes):
                way.move(buffer)

    def close(self) -> None:
        self.client.close()
        self.inner.close()


def _send(target: socket.socket, content: memoryview) -> int:
    try:
        return target.send(content)
    except BlockingIOError:
        return 0
