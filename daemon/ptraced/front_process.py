"""The process at the front socket: who connects, and the bytes to gRPC and back.

It is one of its own, since its few system calls per 200 KiB would each have to wait for the
daemon's interpreter, which slows a stream to a fifth. It knows nothing of what it carries.
It ends with its standard input, which the daemon holds.
"""

from __future__ import annotations

import errno
import os
import select
import signal
import socket
import sys
import time

from ptraced.peer import abstract_name, peer_credentials
from ptraced.relay import BUFFER_BYTES, Relay

# Seconds: what clients get to read the end of their streams when the daemon has ended, and
# the wait before connections are accepted again when descriptors or memory ran out.
_DRAIN = 2.0
_RETRY = 0.5

_EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class Gate:
    """Accepts connections on `listener` and relays each to the socket at `inner`.

    `life` is a descriptor whose end is the daemon's.
    """

    def __init__(self, listener: socket.socket, inner: str, life: int) -> None:
        self._listener = listener
        self._inner = inner
        self._life = life
        self._buffer = memoryview(bytearray(BUFFER_BYTES))
        self._relays: dict[int, tuple[Relay, socket.socket]] = {}
        self._waiting: dict[int, int] = {}
        self._epoll = select.epoll()

    def run(self) -> None:
        """Serve until the daemon ends, then until its last bytes are delivered."""
        self._wait_for(self._life, select.EPOLLIN)
        self._wait_for(self._listener.fileno(), select.EPOLLIN)
        while self._life in self._waiting:
            accepting = self._listener.fileno() in self._waiting
            self._serve(None if accepting else _RETRY)
            self._wait_for(self._listener.fileno(), select.EPOLLIN)
        self._wait_for(self._listener.fileno(), 0)
        # Another daemon may take the socket while the last bytes are delivered.
        self._listener.close()
        deadline = time.monotonic() + _DRAIN
        while self._relays and (left := deadline - time.monotonic()) > 0:
            self._serve(left)

    def _serve(self, timeout: float | None) -> None:
        for fd, _ in self._epoll.poll(timeout):
            if fd == self._life:
                self._wait_for(self._life, 0)
            elif fd == self._listener.fileno():
                self._accept()
            elif fd in self._relays:
                self._move(*self._relays[fd])

    def _accept(self) -> None:
        try:
            client, _ = self._listener.accept()
        except OSError as error:
            if error.errno in _EXHAUSTED:
                self._wait_for(self._listener.fileno(), 0)
            return
        client.setblocking(False)
        try:
            inner = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        except OSError:
            # The last descriptor went to the client, who tries again.
            client.close()
            self._wait_for(self._listener.fileno(), 0)
            return
        relay = Relay(client, inner)
        try:
            inner.bind(abstract_name(peer_credentials(client)))
            inner.connect(self._inner)
        except OSError:
            # gRPC is not there any more, or its backlog is full: clients try again.
            relay.close()
            return
        for side in (client, inner):
            self._relays[side.fileno()] = (relay, side)
        self._update(relay)

    def _move(self, relay: Relay, side: socket.socket) -> None:
        try:
            relay.move(side, self._buffer)
        except OSError:
            self._drop(relay)
            return
        if relay.finished:
            self._drop(relay)
        else:
            self._update(relay)

    def _update(self, relay: Relay) -> None:
        for side in (relay.client, relay.inner):
            self._wait_for(side.fileno(), relay.wanted(side))

    def _drop(self, relay: Relay) -> None:
        for side in (relay.client, relay.inner):
            self._wait_for(side.fileno(), 0)
            del self._relays[side.fileno()]
        relay.close()

    def _wait_for(self, fd: int, events: int) -> None:
        """Wait for some events of a descriptor; for none, leave it out: epoll tells hang-ups."""
        before = self._waiting.get(fd, 0)
        if events == before:
            return
        if not events:
            self._epoll.unregister(fd)
            del self._waiting[fd]
            return
        if before:
            self._epoll.modify(fd, events)
        else:
            self._epoll.register(fd, events)
        self._waiting[fd] = events


def main() -> None:
    # The daemon is told to stop; this process goes when it has gone.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    listener = socket.socket(fileno=int(sys.argv[1]))
    os.set_blocking(listener.fileno(), False)
    Gate(listener, sys.argv[2], sys.stdin.fileno()).run()


if __name__ == "__main__":
    main()
