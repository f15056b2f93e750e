"""Who is at the other end of a connection, and how that travels to gRPC: as a socket's name.

gRPC in Python tells of a caller no more than the name of its socket, `context.peer()`. So the
front processes give each of their connections to gRPC a name that says for whom it is.
"""

from __future__ import annotations

import base64
import ipaddress
import re
import secrets
import socket
import struct
from dataclasses import dataclass
from urllib.parse import unquote

# Of certificates; what fits into the name of a socket, 108 bytes, beside all else.
MAX_NAME = 36
NAME = re.compile(rf"[A-Za-z0-9][A-Za-z0-9._@-]{{0,{MAX_NAME - 1}}}")

# struct ucred of unix(7)
_UCRED = struct.Struct("@iII")
_LOCAL = re.compile(r"unix-abstract:ptraced-(\d+)-(\d+)-(\d+)-[0-9a-f]{16}")
_REMOTE = re.compile(
    rf"unix-abstract:ptraced-tls-(\d+)-(\d+)-([\w-]{{24}})-[\w-]{{11}}-({NAME.pattern})", re.ASCII
)


@dataclass(frozen=True, slots=True)
class Credentials:
    """For whom a connection was made, when it was made.

    `pid` is 0 for a process that is not visible. Remote callers have an `address`,
    "192.0.2.7:50312", and the name in their `certificate`, which NAME matches.
    """

    uid: int
    gid: int
    pid: int
    address: str = ""
    certificate: str = ""


def peer_credentials(connection: socket.socket) -> Credentials:
    """Ask the kernel for the other end of a Unix socket (SO_PEERCRED)."""
    ucred = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    pid, uid, gid = _UCRED.unpack(ucred)
    return Credentials(uid, gid, pid)


def abstract_name(who: Credentials) -> str:
    """A name for a connection on behalf of `who`, never used twice, in the abstract namespace.

    A part that nobody can guess keeps others from taking the name first.
    """
    if who.certificate:
        address = base64.urlsafe_b64encode(_pack_address(who.address)).decode()
        random = secrets.token_urlsafe(8)
        return f"\0ptraced-tls-{who.uid}-{who.gid}-{address}-{random}-{who.certificate}"
    return f"\0ptraced-{who.uid}-{who.gid}-{who.pid}-{secrets.token_hex(8)}"


def parse_peer(peer: str) -> Credentials | None:
    """Whom a gRPC peer name stands for; None where the call came another way."""
    # gRPC writes some characters of names as a URI must.
    peer = unquote(peer)
    if match := _REMOTE.fullmatch(peer):
        address = _unpack_address(base64.urlsafe_b64decode(match[3]))
        return Credentials(int(match[1]), int(match[2]), 0, address, match[4])
    if match := _LOCAL.fullmatch(peer):
        return Credentials(uid=int(match[1]), gid=int(match[2]), pid=int(match[3]))
    return None


def shown_address(host: str, port: int) -> str:
    """An IP address and a port as one text: "192.0.2.7:50312", "[2001:db8::7]:50312"."""
    address = ipaddress.ip_address(host.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    return f"[{address}]:{port}" if address.version == 6 else f"{address}:{port}"


def _pack_address(shown: str) -> bytes:
    """16 bytes of an IPv6 address, which has a place for IPv4 ones, and the port."""
    host, _, port = shown.rpartition(":")
    address = ipaddress.ip_address(host.strip("[]"))
    packed = bytes(10) + b"\xff\xff" + address.packed if address.version == 4 else address.packed
    return packed + struct.pack(">H", int(port))


def _unpack_address(packed: bytes) -> str:
    return shown_address(str(ipaddress.IPv6Address(packed[:16])), *struct.unpack(">H", packed[16:]))
