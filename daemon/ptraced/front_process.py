"""The process at the front socket. It ends with its standard input, which the daemon holds."""

from __future__ import annotations

import json
import os
import resource
import signal
import socket
import sys

from ptraced import sandbox
from ptraced.connection_limits import ROOT_RESERVE, ConnectionLimits
from ptraced.front_events import Events
from ptraced.gate import Gate, Guest, Settings
from ptraced.peer import peer_credentials
from ptraced.relay import PlainStream

# Descriptors beside the two of each connection: refused ones, and the process's own.
_OTHER_DESCRIPTORS = 192
# Bytes; of what a stream brought and its client has not taken, at most a socket buffer is held.
_MEMORY = 1 << 30


class LocalGate(Gate):
    """A gate whose clients the kernel knows."""

    def arrive(self, connection: socket.socket, address: object) -> Guest | None:
        try:
            who = peer_credentials(connection)
        except OSError:
            connection.close()
            return None
        reason = self.count(who)
        if reason and not self.is_told_why(who):
            self.refused(who, reason)
            connection.close()
            return None
        guest = self.new_guest(PlainStream(connection), who, counted=not reason)
        if reason:
            self.refuse(guest, reason)
        return guest


def settings_from(text: str) -> Settings:
    """Read what front.py wrote."""
    told = json.loads(text)
    limits = ConnectionLimits(told["connections"], told["connections_per_user"])
    return Settings(told["inner"], limits, told["patience"])


def prepare(settings: Settings) -> None:
    """Outlive the daemon's signals, and keep no more than what serving takes."""
    # The daemon is told to stop; this process goes when it has gone.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    files = 2 * (settings.limits.total + ROOT_RESERVE) + _OTHER_DESCRIPTORS
    sandbox.limit(
        {
            resource.RLIMIT_NOFILE: files,
            resource.RLIMIT_AS: _MEMORY,
            resource.RLIMIT_NPROC: 0,
        }
    )
    # A name in the current folder is found without a right to any folder above it.
    os.chdir(os.path.dirname(settings.inner))
    sandbox.give_up_privileges()


def main() -> None:
    settings = settings_from(sys.argv[2])
    prepare(settings)
    listener = socket.socket(fileno=int(sys.argv[1]))
    listener.setblocking(False)
    gate = LocalGate(listener, settings, Events(sys.stdout.fileno()), sys.stdin.fileno())
    gate.run()


if __name__ == "__main__":
    main()
