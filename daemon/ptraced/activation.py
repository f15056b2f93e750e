"""Sockets that systemd made and passes on: sd_listen_fds(3)."""

from __future__ import annotations

import os
import socket
from collections.abc import MutableMapping
from dataclasses import dataclass

from ptraced.errors import Unavailable

_FIRST = 3
_VARIABLES = ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES")


@dataclass(frozen=True, slots=True)
class Activation:
    """The sockets that were passed on: one for local users, one for TLS, or None."""

    local: socket.socket | None = None
    tls: socket.socket | None = None


def take_sockets(
    environment: MutableMapping[str, str] = os.environ, first: int = _FIRST
) -> Activation:
    """Take the sockets out of the environment; they are told apart by what they are.

    Raises Unavailable where there is one that nothing can be made of.
    """
    values = {name: environment.pop(name, "") for name in _VARIABLES}
    if values["LISTEN_PID"] != str(os.getpid()) or not values["LISTEN_FDS"].isdecimal():
        return Activation()
    found: dict[str, socket.socket] = {}
    for fd in range(first, first + int(values["LISTEN_FDS"])):
        os.set_inheritable(fd, False)
        listener = _listener(fd)
        kind = "local" if listener.family == socket.AF_UNIX else "tls"
        if kind in found:
            raise Unavailable(
                f"error: systemd passes two sockets for {kind} users; keep one ListenStream="
            )
        found[kind] = listener
    return Activation(**found)


def _listener(fd: int) -> socket.socket:
    families = (socket.AF_UNIX, socket.AF_INET, socket.AF_INET6)
    try:
        listener = socket.socket(fileno=fd)
        name = listener.getsockname()
        if (
            listener.family in families
            # A name without a file has no mode either: all could connect.
            and not isinstance(name, bytes)
            and listener.type == socket.SOCK_STREAM
            and listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
        ):
            listener.setblocking(False)
            return listener
    except OSError:
        pass
    raise Unavailable(
        f"error: descriptor {fd} that systemd passes is no listening stream socket "
        "with a path or port; use ListenStream= and Accept=no"
    )
