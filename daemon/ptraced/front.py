"""The front socket: clients connect here, and their calls tell who makes them.

gRPC in Python does not know a call's user. So clients connect to a process before it, which
asks the kernel who they are and connects to gRPC's own socket on their behalf (peer.py).
Nobody else reaches that socket: it lies in a directory of the daemon's own.
"""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
from pathlib import Path

from ptraced import log
from ptraced.peer import Credentials, parse_peer
from ptraced.public_socket import PublicSocket

# Seconds: the wait before a front process that died is replaced, and what it gets to end,
# which is more than it takes.
_RESTART_DELAY = 0.2
_PATIENCE = 5.0


class Front:
    """Serves on the socket `public` for the gRPC server at `inner_address`, "unix:PATH".

    The public socket is claimed by the constructor, which raises Unavailable where another
    daemon has it; `start` lets connections in. PATH must be reachable by this user only.
    """

    def __init__(self, public: Path, inner_address: str, mode: int, group: str) -> None:
        self._inner = inner_address.removeprefix("unix:")
        self._public = PublicSocket(public, mode, group)
        self._stopping = threading.Event()
        self._changing = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._keeper: threading.Thread | None = None

    def start(self) -> None:
        """Let connections in; the gRPC server should serve already."""
        self._process = self._spawn()
        self._keeper = threading.Thread(target=self._keep, name="front", daemon=True)
        self._keeper.start()

    def stop(self) -> None:
        """Stop listening, and end connections once what gRPC sent on them is delivered."""
        with self._changing:
            self._stopping.set()
            if self._process is not None and self._process.stdin is not None:
                self._process.stdin.close()
        if self._process is not None and self._keeper is not None:
            self._keeper.join(_PATIENCE)
            self._process.kill()
            self._keeper.join()
        self._public.close()

    def caller(self, peer: str) -> Credentials | None:
        """Who is behind a call, by its `context.peer()`; None where it came another way."""
        return parse_peer(peer)

    def _spawn(self) -> subprocess.Popen[bytes]:
        listener = self._public.listener.fileno()
        # -P: nothing is imported from the folder that the daemon happens to run in.
        # A session of its own: Ctrl-C is for the daemon.
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "ptraced.front_process", str(listener), self._inner],
            stdin=subprocess.PIPE,
            pass_fds=[listener],
            start_new_session=True,
        )

    def _keep(self) -> None:
        """Reap the process, and start another where it ended on its own."""
        while self._process is not None:
            status = self._process.wait()
            if self._stopping.wait(_RESTART_DELAY):
                return
            log.event("the front process ended; another follows", logging.ERROR, status=status)
            with self._changing:
                if self._stopping.is_set():
                    return
                if self._process.stdin is not None:
                    self._process.stdin.close()
                self._process = self._spawn()
