"""Who is at the other end of a connection, and how that travels to gRPC: as a socket's name.

gRPC in Python tells of a caller no more than the name of its socket, `context.peer()`. So the
front process gives each of its connections to gRPC a name that says for whom it is.
"""

from __future__ import annotations

import re
import secrets
import socket
import struct
from dataclasses import dataclass

# struct ucred of unix(7)
_UCRED = struct.Struct("@iII")
_PEER = re.compile(r"unix-abstract:ptraced-(\d+)-(\d+)-(\d+)-[0-9a-f]{16}")


@dataclass(frozen=True, slots=True)
class Credentials:
    """Who made a connection, when it was made. `pid` is 0 for a process that is not visible."""

    uid: int
    gid: int
    pid: int


def peer_credentials(connection: socket.socket) -> Credentials:
    """Ask the kernel for the other end of a Unix socket (SO_PEERCRED)."""
    ucred = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    pid, uid, gid = _UCRED.unpack(ucred)
    return Credentials(uid, gid, pid)


def abstract_name(who: Credentials) -> str:
    """A name for a connection on behalf of `who`, never used twice, in the abstract namespace.

    A part that nobody can guess keeps others from taking the name first.
    """
    return f"\0ptraced-{who.uid}-{who.gid}-{who.pid}-{secrets.token_hex(8)}"


def parse_peer(peer: str) -> Credentials | None:
    """Whom a gRPC peer name stands for; None where the call came another way."""
    match = _PEER.fullmatch(peer)
    if match is None:
        return None
    return Credentials(uid=int(match[1]), gid=int(match[2]), pid=int(match[3]))
