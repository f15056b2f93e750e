"""ptrace-client doctor: what this client, the daemon and the host can do."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import click

from ptrace_client import __version__
from ptrace_client.commands.status import status_rows
from ptrace_client.embedded import may_trace
from ptrace_client.endpoint import NoDaemonError
from ptrace_client.errors import ClientError
from ptrace_client.host import connect
from ptrace_client.options import Place, place_options, take_place
from ptrace_client.printing import terminal_safe

# Columns where there is no terminal: nothing is wrapped for programs that read on.
_PIPE_WIDTH = 1000


def declare() -> click.Command:
    """Declare the command's arguments."""
    return click.Command(
        "doctor",
        callback=run,
        help="Check this client, its connection and, where ptraced is installed, this host.",
        params=place_options(),
    )


def run(**values: Any) -> int:
    """Print a table, then the daemon's own check; 1 where nothing can be traced from here."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    daemon_rows, works = _check_daemon(take_place(values))
    table = Table("what", "state", box=None, pad_edge=False)
    for name, state in [*_client_rows(), *daemon_rows]:
        table.add_row(name, Text(terminal_safe(state)))
    Console(width=None if sys.stdout.isatty() else _PIPE_WIDTH).print(table)
    sys.stdout.flush()
    checker = _find_daemon()
    if checker is not None:
        print("\nptraced --check:", flush=True)
        works = subprocess.run([checker, "--check"], check=False).returncode == 0 and works
    return 0 if works else 1


def _find_daemon() -> str | None:
    """Return the path of an installed ptraced, of this installation or the system's."""
    beside = os.path.dirname(sys.executable)
    return shutil.which("ptraced", path=os.pathsep.join((beside, os.environ.get("PATH", ""))))


def _client_rows() -> list[tuple[str, str]]:
    python = f"{platform.python_version()} at {sys.executable}"
    packages = [(name, _version(name)) for name in ("grpcio", "protobuf", "numpy")]
    return [("client", f"ptrace-client {__version__}"), ("python", python), *packages]


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return f"missing: `pip install {package}`"


def _check_daemon(place: Place) -> tuple[list[tuple[str, str]], bool]:
    """Return rows on the daemon, and whether something can be traced."""
    try:
        with connect(place.host, socket=place.socket, tls=place.tls) as host:
            # The first row is the client again.
            return status_rows(host)[1:], True
    except NoDaemonError as error:
        if may_trace() and _find_daemon() and place == Place(None, None, None):
            return [("daemon", "none runs; `run` and `trace` start one for themselves")], True
        return [("daemon", str(error))], False
    except ClientError as error:
        return [("daemon", str(error))], False
