"""The command `ptraced`."""

from __future__ import annotations

import dataclasses
import os
import select
import signal
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

import click

from ptraced import __version__, check, config_values, log, privileges
from ptraced.config import Config, load_config
from ptraced.errors import TraceError
from ptraced.policy import builtin
from ptraced.policy.grant import Policy
from ptraced.service_manager import ServiceManager


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--config",
    "config_file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Configuration to read instead of /etc/ptraced/ptraced.toml.",
)
@click.option(
    "--socket",
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="Unix socket to serve on instead of the configured one.",
)
@click.option(
    "--socket-mode",
    metavar="MODE",
    help="Permissions of the socket, such as 0660, instead of the configured ones.",
)
@click.option(
    "--embedded",
    is_flag=True,
    help="Serve one client: files stay beside the socket, which is the user's own; "
    "says 'ready' on standard output, and ends with standard input.",
)
@click.option(
    "--check",
    "only_check",
    is_flag=True,
    help="Tell what this kernel and installation can do, and end.",
)
@click.version_option(__version__, "--version", "-V", prog_name="ptraced")
def command(
    config_file: Path | None,
    socket: Path | None,
    socket_mode: str | None,
    embedded: bool,
    only_check: bool,
) -> None:
    """Serve kernel events to unprivileged clients."""
    config = _configured(load_config(config_file), socket, socket_mode, embedded)
    if embedded:
        # The rules of the host are for its daemon; this one has those of a file that is named.
        rules = config.policy.rules if config_file is not None else ()
        config = dataclasses.replace(config, policy=Policy((builtin.owner(os.getuid()), *rules)))
    if only_check:
        sys.exit(check.run(config))
    log.set_up(config.log)
    _serve(config, embedded)


def _configured(
    config: Config, socket: Path | None, socket_mode: str | None, embedded: bool
) -> Config:
    server = config.server
    if socket is not None:
        server = dataclasses.replace(server, socket=socket.absolute())
    if embedded:
        server = dataclasses.replace(server, socket_mode=0o600, socket_group="")
    if socket_mode is not None:
        server = dataclasses.replace(server, socket_mode=_mode(socket_mode))
    return dataclasses.replace(config, server=server)


def _mode(text: str) -> int:
    try:
        return config_values.mode(text)
    except ValueError as error:
        raise TraceError(f"error: --socket-mode {error}") from None


def _serve(config: Config, embedded: bool) -> None:
    from ptraced.server import Server

    manager = ServiceManager()
    privileges.raise_limits()
    with ExitStack() as resources:
        if embedded:
            directory = resources.enter_context(
                tempfile.TemporaryDirectory(prefix=".state-", dir=config.server.socket.parent)
            )
            own = dataclasses.replace(config.server, state_dir=Path(directory))
            config = dataclasses.replace(config, server=own)
        stop_requested = _stop_descriptor()
        server = Server(config)
        resources.callback(server.stop)
        if embedded:
            print("ready", flush=True)
        with manager.serving(server.responds):
            _wait(stop_requested, embedded)
        log.event("stopping")


def _stop_descriptor() -> int:
    """A descriptor that becomes readable at SIGTERM or SIGINT."""
    reading, writing = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    signal.set_wakeup_fd(writing)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    return reading


def _wait(stop_requested: int, embedded: bool) -> None:
    watched = [stop_requested] + [sys.stdin.fileno()] * embedded
    while True:
        readable, _, _ = select.select(watched, [], [])
        if stop_requested in readable or not os.read(readable[0], 4096):
            return


def main() -> None:
    """Entry point: errors that the user can put right end with status 2 and their text."""
    try:
        command.main(standalone_mode=True)
    except TraceError as error:
        print(error, file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
