"""As much of HTTP/2 (RFC 9113) as it takes to know a client, and to refuse one politely."""

from __future__ import annotations

import struct

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_HEAD_BYTES = 9
_MAX_SETTINGS_BYTES = 1024
# Frames beyond this are refused by default: SETTINGS_MAX_FRAME_SIZE.
_MAX_FRAME_BYTES = 16384

_HEADERS, _SETTINGS, _GOAWAY = 1, 4, 7
_ACK, _END_STREAM, _END_HEADERS = 1, 1, 4
_NO_ERROR = 0

# gRPC's status codes: doc/statuscodes.md of gRPC.
PERMISSION_DENIED = 7
RESOURCE_EXHAUSTED = 8


def begins(content: bytes | bytearray) -> bool | None:
    """Whether a connection begins as a client's must, preface and SETTINGS; None: go on reading."""
    if len(content) < len(_PREFACE) + _HEAD_BYTES:
        return None if _PREFACE.startswith(content[: len(_PREFACE)]) else False
    if not content.startswith(_PREFACE):
        return False
    size, kind, flags, stream = _head(content[len(_PREFACE) :])
    return kind == _SETTINGS and not flags & _ACK and not stream and size <= _MAX_SETTINGS_BYTES


class Refusal:
    """The server of a connection on which the first call fails, with a status and a text.

    Closing the connection, even after a GOAWAY, would have gRPC's clients try again until
    their deadline, and tell nobody why.
    """

    def __init__(self, status: int, text: str) -> None:
        self._status = status
        self._text = text.encode("ascii", "replace")[:200]
        self._unread = bytearray()
        self._greeted = False
        self.finished = False

    def answer(self, received: bytes | memoryview) -> bytes:
        """What to send after having received more; raises ValueError where it is no HTTP/2."""
        self._unread += received
        answer = bytearray()
        if not self._greeted:
            begun = begins(self._unread)
            if begun is None:
                return b""
            if not begun:
                raise ValueError("not HTTP/2")
            self._greeted = True
            del self._unread[: len(_PREFACE)]
            answer += _frame(_SETTINGS, 0, 0, b"")
        while not self.finished and len(self._unread) >= _HEAD_BYTES:
            size, kind, flags, stream = _head(self._unread)
            if size > _MAX_FRAME_BYTES:
                raise ValueError("frame too large")
            if len(self._unread) < _HEAD_BYTES + size:
                break
            del self._unread[: _HEAD_BYTES + size]
            if kind == _SETTINGS and not flags & _ACK:
                answer += _frame(_SETTINGS, _ACK, 0, b"")
            elif kind == _HEADERS:
                answer += self._refuse(stream)
        return bytes(answer)

    def _refuse(self, stream: int) -> bytes:
        self.finished = True
        # RFC 7541: index 8 is ":status: 200"; 0 starts a field that is not to be indexed.
        fields = b"\x88" + b"".join(
            b"\0" + bytes([len(name)]) + name + _hpack_length(len(value)) + value
            for name, value in (
                (b"content-type", b"application/grpc"),
                (b"grpc-status", b"%d" % self._status),
                (b"grpc-message", _percent_encoded(self._text)),
            )
        )
        # Not ENHANCE_YOUR_CALM: of errors gRPC's clients write lines to their standard error.
        goaway = struct.pack(">II", stream, _NO_ERROR)
        return _frame(_HEADERS, _END_STREAM | _END_HEADERS, stream, fields) + _frame(
            _GOAWAY, 0, 0, goaway
        )


def _head(content: bytes | bytearray) -> tuple[int, int, int, int]:
    """Length, type, flags and stream of a frame."""
    stream = int.from_bytes(content[5:9], "big") & 0x7FFFFFFF
    return int.from_bytes(content[:3], "big"), content[3], content[4], stream


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def _hpack_length(length: int) -> bytes:
    """A string's length, not Huffman-coded (RFC 7541, 5.1)."""
    if length < 127:
        return bytes([length])
    rest, encoded = length - 127, bytearray([127])
    while rest >= 128:
        encoded.append(rest % 128 + 128)
        rest //= 128
    return bytes([*encoded, rest])


def _percent_encoded(text: bytes) -> bytes:
    """As gRPC encodes messages: doc/PROTOCOL-HTTP2.md of gRPC."""
    return b"".join(
        bytes([byte]) if 0x20 <= byte <= 0x7E and byte != 0x25 else b"%%%02X" % byte
        for byte in text
    )
