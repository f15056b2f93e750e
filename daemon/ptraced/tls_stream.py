"""TLS on a socket that does not block, for a relay."""

from __future__ import annotations

import functools
import select
import socket
import ssl
from typing import Any

# The most plaintext that a record holds (RFC 8446, 5.1). With room for it a read leaves nothing
# behind in OpenSSL, where epoll would not see it.
_RECORD_BYTES = 16384


class TlsStream:
    """The server's side of a TLS connection; the first read makes the handshake.

    All but `close` raise OSError, as ssl.SSLError where TLS is wrong.
    """

    def __init__(self, connected: socket.socket, context: ssl.SSLContext) -> None:
        connected.setblocking(False)
        self.read_event = select.EPOLLIN
        self.write_event = select.EPOLLOUT
        self._tls = context.wrap_socket(connected, server_side=True, do_handshake_on_connect=False)
        self._ended = False
        self.fileno = self._tls.fileno
        self.close = self._tls.close

    @functools.cached_property
    def certificate(self) -> dict[str, Any]:
        """What the client showed, as ssl.SSLSocket.getpeercert() has it, once it was read from."""
        return self._tls.getpeercert() or {}

    @functools.cached_property
    def serial(self) -> int:
        """The serial number of that certificate."""
        return int(self.certificate["serialNumber"], 16)

    @functools.cached_property
    def expires(self) -> float:
        """When that certificate is too old, in seconds of the epoch."""
        return ssl.cert_time_to_seconds(self.certificate["notAfter"])

    def read(self, buffer: memoryview) -> int | None:
        """As much as there is; `buffer` has room for a record at least."""
        if self._ended:
            return self._discard(buffer)
        total = 0
        while len(buffer) - total >= _RECORD_BYTES:
            try:
                size = self._tls.recv_into(buffer[total:])
            except ssl.SSLWantReadError:
                self.read_event = select.EPOLLIN
                return total or None
            except ssl.SSLWantWriteError:
                # It asked for new keys, and reads no answer.
                self.read_event = select.EPOLLOUT
                return total or None
            if not size:
                break
            total += size
        return total

    def write(self, content: memoryview) -> int:
        sent = 0
        while sent < len(content):
            # What was not taken must be offered again as it is: OpenSSL has begun with it.
            try:
                sent += self._tls.send(content[sent:])
            except ssl.SSLWantWriteError:
                self.write_event = select.EPOLLOUT
                break
            except ssl.SSLWantReadError:
                self.write_event = select.EPOLLIN
                break
        return sent

    def end(self) -> None:
        """Tell the client that nothing follows; what it still sends is thrown away."""
        try:
            self._tls.unwrap()
        except OSError:
            # It has not said the same yet.
            pass
        self._ended = True
        self.read_event = select.EPOLLIN
        socket.socket.shutdown(self._tls, socket.SHUT_WR)

    def _discard(self, buffer: memoryview) -> int | None:
        try:
            size = socket.socket.recv_into(self._tls, buffer)
        except BlockingIOError:
            return None
        return None if size else 0
