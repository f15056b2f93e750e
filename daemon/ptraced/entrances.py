"""All ways into the daemon: the front socket, the TLS port, and plain TCP where it is wanted."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

import grpc

from ptraced.activation import Activation, take_sockets
from ptraced.callers import Callers
from ptraced.config import Config
from ptraced.connection_limits import ConnectionLimits
from ptraced.errors import Unavailable
from ptraced.front import Front
from ptraced.kept_process import OnEvent
from ptraced.public_socket import InheritedSocket, PublicSocket
from ptraced.tls_front import TlsFront


class Entrances:
    """What clients connect to, and the directory of gRPC's own socket behind it.

    The constructor claims the sockets; raises Unavailable where it cannot. `listen` is for the
    gRPC server before it starts, `start` lets clients in.
    """

    def __init__(self, config: Config, on_event: OnEvent) -> None:
        self._server = config.server
        self.caller = Callers(
            config.server.insecure_loopback_user if config.server.insecure_loopback else ""
        )
        self._undo = contextlib.ExitStack()
        with contextlib.ExitStack() as failed:
            failed.callback(self._undo.close)
            self._open(config, on_event)
            failed.pop_all()

    def listen(self, server: grpc.Server) -> None:
        """Have gRPC listen behind the fronts, and on plain TCP where that is wanted."""
        server.add_insecure_port(f"unix:{quote(self._inner)}")
        address = self._server.insecure_loopback
        if address:
            try:
                server.add_insecure_port(address)
            except RuntimeError:
                raise Unavailable(f"error: cannot listen on {address}: is it in use?") from None

    def start(self) -> None:
        """Let clients in; raises Unavailable where the files of TLS are not right."""
        self._front.start()
        if self._tls is not None:
            self._tls.start()

    def set_tls_users(self, users: Mapping[str, str]) -> None:
        """Take other users for certificates: tls.users of a configuration read again."""
        if self._tls is not None:
            self._tls.set_users(users)

    def stop(self) -> None:
        """Close all once what gRPC sent is delivered, and remove the files."""
        self._undo.close()

    def _open(self, config: Config, on_event: OnEvent) -> None:
        given = take_sockets()
        public = self._public(given)
        directory = _inner_directory(public.path, activated=given.local is not None)
        self._inner = f"{directory}/g"
        limits = ConnectionLimits(self._server.connections, self._server.connections_per_user)
        self._front = Front(public, f"unix:{self._inner}", limits, on_event)
        self._undo.callback(self._front.stop)
        # The socket is ours now: what lies here is of a daemon that was killed.
        shutil.rmtree(directory, ignore_errors=True)
        make_directory(directory, 0o700, new=True)
        self._undo.callback(shutil.rmtree, directory, ignore_errors=True)
        self._tls = None
        if config.tls.certificate is not None:
            if not config.tls.listen and given.tls is None:
                raise Unavailable('error: tls.listen is missing: say where, such as "0.0.0.0:7879"')
            self._tls = TlsFront(
                config.tls, f"unix:{self._inner}", limits, on_event, listener=given.tls
            )
            self._undo.callback(self._tls.stop)
        elif given.tls is not None:
            raise Unavailable(
                "error: systemd passes a TCP socket, and there is no TLS for it: set "
                "tls.certificate, tls.key and tls.client_ca"
            )

    def _public(self, given: Activation) -> PublicSocket | InheritedSocket:
        if given.local is not None:
            return InheritedSocket(given.local)
        server = self._server
        make_directory(server.socket.parent, 0o755)
        return PublicSocket(server.socket, server.socket_mode, server.socket_group)


def make_directory(directory: Path, mode: int, new: bool = False) -> None:
    """Make a directory, with its parents unless it must be `new`; raises Unavailable."""
    try:
        directory.mkdir(mode=mode, parents=not new, exist_ok=not new)
    except OSError as error:
        raise Unavailable(f"error: cannot make {directory}: {error.strerror}") from None


def _inner_directory(socket: Path, activated: bool) -> Path:
    """Where gRPC listens, for nobody but the fronts: of mode 0700.

    The names are short: where "ptraced.sock" fits into a socket address, they do too. Beside a
    socket of systemd's the daemon may have no right to make it.
    """
    own = os.environ.get("RUNTIME_DIRECTORY", "").split(":")[0]
    parent = Path(own) if activated and own else socket.parent
    return parent / f".{hashlib.sha256(socket.name.encode()).hexdigest()[:8]}"
