"""The TLS port: remote clients connect here, and their certificates tell who they are."""

from __future__ import annotations

import json
import logging
import os
import queue
import socket
from collections.abc import Mapping
from typing import Any

from ptraced import log
from ptraced.config import Tls
from ptraced.connection_limits import ConnectionLimits
from ptraced.errors import Unavailable
from ptraced.front import PATIENCE, ignore, process_settings
from ptraced.kept_process import KeptProcess, OnEvent

_BACKLOG = 1024
# Seconds for a process to read the files and say so.
_START_TIMEOUT = 30.0


class TlsFront:
    """Serves on a TCP port for the gRPC server at `inner_address`, "unix:PATH".

    The constructor opens the port, unless it gets one that listens, and raises Unavailable where
    it cannot; `start` lets connections in. `on_event` gets what front_events.py lists.
    """

    def __init__(
        self,
        config: Tls,
        inner_address: str,
        limits: ConnectionLimits,
        on_event: OnEvent = ignore,
        patience: float = PATIENCE,
        listener: socket.socket | None = None,
    ) -> None:
        self._listener = listener or _listen(config.listen)
        self._on_event = on_event
        self._started = False
        self._first: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        files = {
            name: str(getattr(config, name) or "")
            for name in ("certificate", "key", "client_ca", "crl")
        }
        users = dict(config.users)
        settings = process_settings(inner_address, limits, patience, **files, users=users)
        descriptor = self._listener.fileno()
        self._process = KeptProcess(
            "ptraced.tls_process", [str(descriptor), settings], [descriptor], self._take
        )

    @property
    def port(self) -> int:
        """The number of the TCP port."""
        return int(self._listener.getsockname()[1])

    def start(self) -> None:
        """Let connections in; raises Unavailable where the files are not right."""
        self._process.start()
        try:
            first = self._first.get(timeout=_START_TIMEOUT)
        except queue.Empty:
            first = {"kind": "failed", "reason": "error: the TLS process does not answer"}
        if first["kind"] == "failed":
            self.stop()
            raise Unavailable(first["reason"])
        self._started = True

    def set_users(self, users: Mapping[str, str]) -> None:
        """Take other users for certificates; connections that are nobody's any more end."""
        self._process.tell(json.dumps(dict(users)))

    def stop(self) -> None:
        """Stop listening, and end connections once what gRPC sent on them is delivered."""
        self._process.stop()
        self._listener.close()

    def _take(self, event: dict[str, Any]) -> None:
        kind = event["kind"]
        if kind in ("ready", "failed"):
            if self._started:
                self._log_restart(event)
            else:
                self._first.put(event)
        elif kind == "reloaded":
            log.event("the files of TLS have been read again")
        elif kind == "not reloaded":
            log.event(
                "the files of TLS have changed and are not right: the old ones stay",
                logging.WARNING,
                reason=event["reason"],
            )
        else:
            self._on_event(event)

    def _log_restart(self, event: dict[str, Any]) -> None:
        if event["kind"] == "failed":
            log.event("TLS is not served any more", logging.ERROR, reason=event["reason"])
        else:
            log.event("TLS is served again", logging.WARNING)


def _listen(address: str) -> socket.socket:
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, int(port)), family=family, backlog=_BACKLOG)
    except OSError as error:
        raise Unavailable(
            f"error: cannot listen on {address}: {os.strerror(error.errno or 0)}; see tls.listen"
        ) from None
