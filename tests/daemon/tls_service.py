"""An authority with a few certificates, and a gRPC server behind the TLS port."""

from __future__ import annotations

import os
import pwd
import queue
from collections.abc import Iterator
from concurrent import futures
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc

from ptraced.certs import Authority
from ptraced.config import Tls
from ptraced.connection_limits import ConnectionLimits
from ptraced.peer import parse_peer
from ptraced.tls_front import TlsFront

TIMEOUT = 20
MESSAGE = bytes(range(256)) * 4096
ME = pwd.getpwuid(os.getuid()).pw_name
LIMITS = ConnectionLimits(total=256, per_user=64)


def make_authority(directory: Path, *users: str) -> Authority:
    """An authority with a server's certificate for localhost, and those of users."""
    authority = Authority(directory)
    authority.create("test")
    authority.issue_server(["localhost", "127.0.0.1"])
    for user in users:
        authority.issue_user(user)
    return authority


def settings(authority: Authority, users: dict[str, str], crl: bool = True) -> Tls:
    directory = authority.directory
    return Tls(
        listen="127.0.0.1:0",
        certificate=directory / "server.crt",
        key=directory / "server.key",
        client_ca=directory / "ca.crt",
        crl=directory / "crl.pem" if crl else None,
        users=users,
    )


class TlsService:
    """A gRPC server that tells who calls, and streams."""

    def __init__(
        self, directory: Path, config: Tls, limits: ConnectionLimits = LIMITS, patience: float = 10
    ) -> None:
        inner = directory / "inner"
        inner.mkdir(mode=0o700)
        self.events: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self.front = TlsFront(config, f"unix:{inner}/g", limits, self.events.put, patience=patience)
        self.grpc = grpc.server(futures.ThreadPoolExecutor(8))
        handlers = {
            "Who": grpc.unary_unary_rpc_method_handler(self._who),
            "Read": grpc.unary_stream_rpc_method_handler(self._read),
        }
        self.grpc.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler("test.Test", handlers),)
        )
        self.grpc.add_insecure_port(f"unix:{inner}/g")
        self.grpc.start()
        self.front.start()
        self.address = f"localhost:{self.front.port}"

    def stop(self) -> None:
        self.grpc.stop(None).wait()
        self.front.stop()

    @contextmanager
    def channel(self, user: Path) -> Iterator[grpc.Channel]:
        """A client with the files of a user."""
        credentials = grpc.ssl_channel_credentials(
            (user / "ca.crt").read_bytes(),
            (user / "user.key").read_bytes(),
            (user / "user.crt").read_bytes(),
        )
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", -1)]
        with grpc.secure_channel(self.address, credentials, options=options) as channel:
            yield channel

    def _who(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        return repr(parse_peer(context.peer())).encode()

    def _read(self, request: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
        for _ in range(int(request)):
            yield MESSAGE
