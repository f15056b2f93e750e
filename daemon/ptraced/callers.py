"""From the name of a gRPC peer to the caller behind it."""

from __future__ import annotations

import functools
import pwd
from dataclasses import replace
from urllib.parse import unquote

from ptraced.errors import Unavailable
from ptraced.identity import Caller, Via, local_caller
from ptraced.peer import parse_peer

# A call that came no way that this daemon knows: nobody.
_NOBODY = Caller(65534, 65534, via=Via.INSECURE)


class Callers:
    """Who makes a call, by its `context.peer()`.

    Those of plain TCP are all taken for one user; raises Unavailable where the host does not
    have it. Empty: there is no plain TCP.
    """

    def __init__(self, insecure_user: str = "") -> None:
        self._insecure = _insecure_caller(insecure_user) if insecure_user else _NOBODY
        # Connections live longer than what their calls ask the user database, and the names of
        # theirs are never used twice.
        self._named = functools.lru_cache(maxsize=1024)(_named_caller)

    def forget(self) -> None:
        """Ask the user database again for each connection, whose user may be in other groups."""
        self._named.cache_clear()

    def __call__(self, peer: str) -> Caller:
        if peer.startswith("unix"):
            return self._named(peer)
        return replace(self._insecure, address=unquote(peer).partition(":")[2])


def _named_caller(peer: str) -> Caller:
    who = parse_peer(peer)
    if who is None:
        return _NOBODY
    caller = local_caller(who.uid, who.gid, who.pid)
    if not who.certificate:
        return caller
    return replace(caller, via=Via.TLS, address=who.address, certificate=who.certificate)


def _insecure_caller(user: str) -> Caller:
    try:
        entry = pwd.getpwnam(user)
    except KeyError:
        raise Unavailable(
            f"error: this host has no user {user}; see server.insecure_loopback_user"
        ) from None
    return replace(local_caller(entry.pw_uid, entry.pw_gid, 0), via=Via.INSECURE)
