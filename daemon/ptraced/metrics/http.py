"""Metrics over HTTP, on a Unix socket or a TCP port."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, ClassVar

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from ptraced.config_values import split_address
from ptraced.errors import Unavailable

# Seconds that a client gets to ask: one is served at a time.
_PATIENCE = 5.0
_SOCKET_MODE = 0o660


class MetricsServer:
    """Serves what `collector` yields, at "unix:PATH" or "ADDRESS:PORT", until `close`.

    Raises Unavailable where it cannot listen there.
    """

    def __init__(self, listen: str, collector: Any) -> None:
        registry = CollectorRegistry(auto_describe=False)
        registry.register(collector)
        self._path = Path(listen.removeprefix("unix:")) if listen.startswith("unix:") else None
        self._server = _Server(_listening(listen, self._path), lambda: generate_latest(registry))
        self._thread = threading.Thread(
            target=self._server.serve_forever, name="metrics", daemon=True
        )
        self._thread.start()

    @property
    def port(self) -> int:
        """The TCP port."""
        return int(self._server.socket.getsockname()[1])

    def close(self) -> None:
        """Stop, and remove the socket."""
        self._server.shutdown()
        self._server.server_close()
        if self._path is not None:
            with contextlib.suppress(OSError):
                self._path.unlink()


def _listening(listen: str, path: Path | None) -> socket.socket:
    try:
        if path is None:
            return socket.create_server(split_address(listen), backlog=16)
        with contextlib.suppress(FileNotFoundError):
            # Of a daemon that was killed: two do not have the same configuration.
            path.unlink()
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        before = os.umask(0o777 & ~_SOCKET_MODE)
        try:
            listener.bind(str(path))
        finally:
            os.umask(before)
        listener.listen(16)
    except OSError as error:
        why = os.strerror(error.errno or 0)
        raise Unavailable(
            f"error: cannot listen at {listen} for metrics: {why}; see metrics.listen"
        ) from None
    return listener


class _Server(HTTPServer):
    def __init__(self, listener: socket.socket, content: Callable[[], bytes]) -> None:
        super().__init__(("", 0), _Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listener
        self.content = content

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, _ = self.socket.accept()
        return connection, ("", 0)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: it is the client's affair."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout: ClassVar[float] = _PATIENCE

    def do_GET(self) -> None:
        if self.path.partition("?")[0] not in ("/", "/metrics"):
            self.send_error(404)
            return
        content = self.server.content()
        self.send_response(200)
        self.send_header("Content-Type", CONTENT_TYPE_LATEST)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing: scrapes are no news."""
