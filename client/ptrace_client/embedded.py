"""A daemon of one's own, for the life of a run, where none is installed."""

from __future__ import annotations

import importlib.util
import os
import select
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import IO, Final

from ptrace_client.endpoint import Endpoint, NoDaemonError, find_endpoint
from ptrace_client.errors import ClientError
from ptrace_client.host import Host
from ptrace_client.tls import TlsFiles

_COMMAND: Final = (sys.executable, "-m", "ptraced.cli", "--embedded")
# Seconds. The daemon compiles a first BPF program before it is ready.
_START_TIMEOUT: Final = 30.0
# Seconds. Detaching hundreds of programs takes long (an RCU grace period each).
_END_TIMEOUT: Final = 60.0
# Longest temporary folder in which a folder's sockets fit into sun_path (unix(7)), 108 bytes.
_PLACE_BYTES: Final = 70
# Bits of CapEff: capabilities(7), linux/capability.h.
_CAP_PERFMON: Final = 1 << 38
_CAP_BPF: Final = 1 << 39


@contextmanager
def open_host(
    address: str | None,
    socket_path: str | None,
    *,
    tls: TlsFiles | None = None,
    show_log: bool = False,
) -> Iterator[Host]:
    """Connect as connect() does; start a private daemon where nobody named one and none runs.

    That needs root, or CAP_BPF and CAP_PERFMON. `show_log` lets its log through to stderr.
    """
    endpoint = find_endpoint(address, socket_path, tls=tls)
    with ExitStack() as stack:
        try:
            host = stack.enter_context(Host(endpoint))
        except NoDaemonError:
            if not (endpoint.default and may_trace() and importlib.util.find_spec("ptraced")):
                raise
            daemon = stack.enter_context(EmbeddedDaemon(show_log=show_log))
            host = stack.enter_context(Host(daemon.endpoint))
        yield host


def may_trace() -> bool:
    """Tell whether this process has the privileges that a daemon needs."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return False
    held = next(int(line[7:], 16) for line in status.splitlines() if line.startswith("CapEff:"))
    needed = _CAP_BPF | _CAP_PERFMON
    return held & needed == needed


class EmbeddedDaemon:
    """A child process that serves at a socket in a folder of its own; a context manager.

    It ends with the block, and by itself when this process dies: its stdin then closes.
    """

    def __init__(self, *, show_log: bool = False) -> None:
        """Start it and wait until it is ready. Raise ClientError with its log if it fails."""
        with ExitStack() as started:
            # mkdtemp(3): mode 0700.
            folder = started.enter_context(
                tempfile.TemporaryDirectory(prefix="ptraced-", dir=_place_for_sockets())
            )
            log = started.enter_context(tempfile.TemporaryFile())
            socket_path = Path(folder) / "ptraced.sock"
            process = subprocess.Popen(
                [*_COMMAND, "--socket", socket_path],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=None if show_log else log,
                # Ctrl-C is for the client alone: it then drains and stops the daemon in order.
                process_group=0,
            )
            started.callback(_end, process)
            _wait_until_ready(process, log)
            self.endpoint = Endpoint(socket=socket_path)
            self._resources = started.pop_all()

    def __enter__(self) -> EmbeddedDaemon:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the daemon and remove its folder."""
        self._resources.close()


def _place_for_sockets() -> str:
    """Return the folder for temporary files, or /tmp where paths in that get too long."""
    place = tempfile.gettempdir()
    return place if len(os.fsencode(place)) <= _PLACE_BYTES else "/tmp"


def _end(process: subprocess.Popen[bytes]) -> None:
    with process:
        process.terminate()
        try:
            process.wait(_END_TIMEOUT)
        except subprocess.TimeoutExpired:
            process.kill()


def _wait_until_ready(process: subprocess.Popen[bytes], log: IO[bytes]) -> None:
    assert process.stdout is not None
    readable, _, _ = select.select([process.stdout], [], [], _START_TIMEOUT)
    if readable and process.stdout.readline() == b"ready\n":
        return
    what = "did not start" if readable else f"was not ready after {_START_TIMEOUT:g} s"
    log.seek(0)
    raise ClientError(
        f"the daemon that this run started for itself {what}; `ptraced --check` tells what this "
        f"host can do. Its log:\n{log.read().decode(errors='replace')}".rstrip()
    )
