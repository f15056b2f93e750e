"""The front socket: clients connect here, and their calls tell who makes them.

gRPC in Python does not know a call's user. So clients connect to a process before it, which
asks the kernel who they are and connects to gRPC's own socket on their behalf (peer.py).
Nobody else reaches that socket: it lies in a directory of the daemon's own.
"""

from __future__ import annotations

import json
from typing import Any

from ptraced.connection_limits import ConnectionLimits
from ptraced.kept_process import KeptProcess, OnEvent
from ptraced.public_socket import InheritedSocket, PublicSocket

# Seconds that a client gets to begin to speak HTTP/2.
PATIENCE = 10.0


def ignore(event: dict[str, Any]) -> None:
    """Take no notice of an event."""


class Front:
    """Serves on the socket `public` for the gRPC server at `inner_address`, "unix:PATH".

    `start` lets connections in; `stop` closes `public`. PATH must be reachable by this user only.
    `on_event` gets what front_events.py lists, in a thread of its own.
    """

    def __init__(
        self,
        public: PublicSocket | InheritedSocket,
        inner_address: str,
        limits: ConnectionLimits,
        on_event: OnEvent = ignore,
        patience: float = PATIENCE,
    ) -> None:
        self._public = public
        settings = process_settings(inner_address, limits, patience)
        listener = public.listener.fileno()
        self._process = KeptProcess(
            "ptraced.front_process", [str(listener), settings], [listener], on_event
        )

    def start(self) -> None:
        """Let connections in; the gRPC server should serve already."""
        self._process.start()

    def stop(self) -> None:
        """Stop listening, and end connections once what gRPC sent on them is delivered."""
        self._process.stop()
        self._public.close()


def process_settings(
    inner_address: str, limits: ConnectionLimits, patience: float, **more: Any
) -> str:
    """What a front process is told on its command line."""
    return json.dumps(
        {
            "inner": inner_address.removeprefix("unix:"),
            "connections": limits.total,
            "connections_per_user": limits.per_user,
            "patience": patience,
            **more,
        }
    )
