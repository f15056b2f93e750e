"""The systemd journal, in its native protocol: a datagram of fields.

https://systemd.io/JOURNAL_NATIVE_PROTOCOL/
"""

from __future__ import annotations

import socket
from collections.abc import Mapping
from pathlib import Path

SOCKET = Path("/run/systemd/journal/socket")


class Journal:
    """A connection to the journal at `path`; raises OSError where there is none."""

    def __init__(self, path: Path = SOCKET) -> None:
        self._path = str(path)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        try:
            self._socket.connect(self._path)
        except OSError:
            self._socket.close()
            raise

    def send(self, fields: Mapping[str, str]) -> bool:
        """Send an entry, at most some ten KiB; False where it could not be delivered.

        Never waits: a journal that does not read must not stop the daemon.
        """
        data = b"".join(_field(name, value) for name, value in fields.items())
        try:
            self._socket.send(data, socket.MSG_DONTWAIT)
        except OSError:
            return self._send_anew(data)
        return True

    def close(self) -> None:
        self._socket.close()

    def _send_anew(self, data: bytes) -> bool:
        """Send to the socket that is there now: journald may have been started again."""
        try:
            self._socket.connect(self._path)
            self._socket.send(data, socket.MSG_DONTWAIT)
        except OSError:
            return False
        return True


def _field(name: str, value: str) -> bytes:
    """NAME=value, or the form with a length for what has several lines."""
    data = value.encode(errors="backslashreplace")
    if b"\n" not in data:
        return b"%s=%s\n" % (name.encode(), data)
    return b"%s\n%s%s\n" % (name.encode(), len(data).to_bytes(8, "little"), data)
