"""Who a call comes from: told by the kernel or by a certificate, never by the client."""

from __future__ import annotations

import enum
import grp
import os
import pwd
from dataclasses import dataclass, replace


class Via(enum.StrEnum):
    """How a call came."""

    LOCAL = "local"
    TLS = "tls"
    INSECURE = "insecure"


@dataclass(frozen=True, slots=True)
class Caller:
    """A user of this host, as of when the connection was made.

    `pid` is 0 where it is not known; `user` is empty where the uid has no name. `groups` are
    names, and `gids` numbers, from the host's user database: of the primary and all supplementary
    groups. `address` and `certificate` are of remote callers: "192.0.2.7:50312", and the name in
    the certificate.
    """

    uid: int
    gid: int
    pid: int = 0
    user: str = ""
    groups: frozenset[str] = frozenset()
    via: Via = Via.LOCAL
    address: str = ""
    certificate: str = ""
    gids: frozenset[int] = frozenset()

    @property
    def is_remote(self) -> bool:
        return self.via is not Via.LOCAL


def local_caller(uid: int, gid: int, pid: int) -> Caller:
    """The caller behind the kernel's answer about a connection (SO_PEERCRED)."""
    user = user_name(uid)
    return Caller(uid, gid, pid, user, groups_of(user), gids=gids_of(user))


def renewed(caller: Caller) -> Caller:
    """The caller with the groups of now; those of before where the user database is silent."""
    return replace(caller, groups=groups_of(caller.user) or caller.groups)


def user_name(uid: int) -> str:
    """The name of a user, empty where it has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return ""


def groups_of(user: str) -> frozenset[str]:
    """Names of all groups of a user; those without a name are left out."""
    names = set()
    for gid in gids_of(user):
        try:
            names.add(grp.getgrgid(gid).gr_name)
        except KeyError:
            pass
    return frozenset(names)


def gids_of(user: str) -> frozenset[int]:
    """Numbers of all groups of a user; none where there is no such user."""
    try:
        primary = pwd.getpwnam(user).pw_gid
    except KeyError:
        return frozenset()
    return frozenset(os.getgrouplist(user, primary))
