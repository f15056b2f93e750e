"""Where a daemon listens, and why it cannot be reached there."""

from __future__ import annotations

import ipaddress
import os
import socket
import stat
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from ptrace_client.errors import ClientError
from ptrace_client.tls import TlsFiles, find_tls

DEFAULT_SOCKET = "/run/ptraced/ptraced.sock"

# Seconds; a listener on this machine answers at once unless its backlog is full.
_PROBE_TIMEOUT = 5.0

_PROBE_TIMEVAL = struct.pack("@ll", int(_PROBE_TIMEOUT), 0)

_START_HINT = (
    "start the daemon with `systemctl start ptraced`, or run as root: `ptrace-client run` then "
    "starts one for itself"
)


class NoDaemonError(ClientError):
    """There is nothing at the place where a daemon should listen."""


@dataclass(frozen=True)
class Endpoint:
    """A Unix socket, or a host and port: with TLS, or plain on the loopback interface."""

    socket: Path | None = None
    host: str = ""
    port: int = 0
    tls: TlsFiles | None = None
    # True where nobody named this place: it is the compiled-in default.
    default: bool = False

    def __str__(self) -> str:
        if self.socket is not None:
            return f"unix:{self.socket}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def target(self) -> str:
        """The place in gRPC's name syntax (gRPC's doc/naming.md), a URI."""
        return f"unix:{quote(str(self.socket))}" if self.socket is not None else f"dns:///{self}"

    def check(self) -> None:
        """Raise ClientError with the exact reason if nothing accepts connections here.

        gRPC would call a missing socket, a closed one and a forbidden one all "unavailable".
        """
        if self.socket is not None:
            _check_socket(self.socket)
        elif self.tls is not None:
            self.tls.check(self.host, self.port, str(self))
        else:
            _check_port(self)


def find_endpoint(
    address: str | None = None,
    socket_path: str | os.PathLike[str] | None = None,
    environment: Mapping[str, str] = os.environ,
    tls: TlsFiles | None = None,
) -> Endpoint:
    """Return the place that the arguments, else the environment, else the default name.

    PTRACED_HOST is an address "host:port", PTRACED_SOCKET the path of a Unix socket. What is
    not on this machine is reached by TLS, and so is what is where `tls` or PTRACED_TLS name files
    for it. Raise ClientError where both places are given.
    """
    names = "--host and --socket"
    if address is None and socket_path is None:
        names = "PTRACED_HOST and PTRACED_SOCKET"
        address = environment.get("PTRACED_HOST") or None
        socket_path = environment.get("PTRACED_SOCKET") or None
    if address is not None and socket_path is not None:
        raise ClientError(f"{names} are both given: only one place can be traced at a time")
    if address is not None:
        return _parse_address(address, tls, environment)
    if tls is not None:
        raise ClientError("certificates are for a daemon at HOST:PORT; name it by --host")
    if socket_path is not None:
        return Endpoint(socket=Path(socket_path))
    return Endpoint(socket=Path(DEFAULT_SOCKET), default=True)


def _parse_address(address: str, tls: TlsFiles | None, environment: Mapping[str, str]) -> Endpoint:
    if address.startswith("unix:"):
        return Endpoint(socket=Path(address.removeprefix("unix:")))
    host, separator, port = address.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not separator or not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise ClientError(f"bad address {address!r}: expected HOST:PORT, such as localhost:7878")
    if tls is None and (environment.get("PTRACED_TLS") or not _is_loopback(host)):
        tls = find_tls(environment=environment)
    return Endpoint(host=host, port=int(port), tls=tls)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _check_socket(path: Path) -> None:
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        raise NoDaemonError(f"no daemon: there is no socket {path}; {_START_HINT}") from None
    except PermissionError:
        raise ClientError(_permission_text(path)) from None
    except OSError as error:
        raise ClientError(f"cannot use the socket {path}: {error.strerror}") from None
    if not stat.S_ISSOCK(mode):
        raise ClientError(f"{path} is not a socket; name the socket of a running ptraced")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        # A socket with a timeout of Python's would not wait in line where the backlog is full.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _PROBE_TIMEVAL)
        try:
            probe.connect(os.fspath(path))
        except ConnectionRefusedError:
            raise NoDaemonError(f"no daemon: nothing listens at {path}; {_START_HINT}") from None
        except PermissionError:
            raise ClientError(_permission_text(path)) from None
        except OSError as error:
            # A path longer than sun_path (unix(7)) has no errno text.
            raise ClientError(f"cannot use the socket {path}: {error.strerror or error}") from None


def _permission_text(path: Path) -> str:
    """Say who may use the socket; where a directory hides it, who may enter that."""
    place = path
    for parent in reversed(path.absolute().parents):
        if not os.access(parent, os.X_OK):
            place = parent
            break
    try:
        status = place.stat()
    except OSError:
        return f"permission denied at the socket {path}; ask the administrator for access"
    owner, group = _user_name(status.st_uid), _group_name(status.st_gid)
    what = "it" if place == path else f"its folder {place}"
    # connect(2) asks for write permission on the socket, a folder for search permission.
    needed = stat.S_IWGRP if place == path else stat.S_IXGRP
    if status.st_mode & needed and status.st_gid != 0:
        hint = f"ask the administrator to add you to the group {group} and log in again"
    else:
        hint = f"ask the administrator for access, or run as {owner}"
    return (
        f"permission denied at the socket {path}: {what} belongs to {owner}:{group} "
        f"with mode {stat.S_IMODE(status.st_mode):04o}; {hint}"
    )


def _user_name(uid: int) -> str:
    # Not there on Windows, where no socket belongs to a uid either.
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _group_name(gid: int) -> str:
    import grp

    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


def _check_port(endpoint: Endpoint) -> None:
    try:
        socket.create_connection((endpoint.host, endpoint.port), _PROBE_TIMEOUT).close()
    except OSError as error:
        raise NoDaemonError(
            f"no daemon: cannot connect to {endpoint}: {error.strerror or error}; {_START_HINT}"
        ) from None
