"""The command `ptraced`."""

from __future__ import annotations

import logging
import os
import select
import signal
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ptraced import __version__, check, config_values, log, privileges
from ptraced.config import Config, Metrics, Tls, load_config
from ptraced.errors import TraceError
from ptraced.policy import builtin
from ptraced.policy.grant import Policy
from ptraced.service_manager import ServiceManager

if TYPE_CHECKING:
    from ptraced.server import Server

_STOP = frozenset({signal.SIGTERM, signal.SIGINT})


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
    "--insecure-loopback",
    metavar="ADDRESS:PORT",
    help="Plain TCP on the loopback interface: everybody on this host may call there.",
)
@click.option(
    "--insecure-loopback-user",
    metavar="NAME",
    help="User for whom all who call there are taken.",
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
@click.option(
    "--explain-policy",
    "explained_user",
    metavar="USER",
    help="Tell what the policy allows to a user, and by which rules; of EVENTS, if some are "
    "named. The exit status is 1 where something is not allowed.",
)
@click.argument("events", nargs=-1, metavar="[EVENTS]...")
@click.version_option(__version__, "--version", "-V", prog_name="ptraced")
def command(
    config_file: Path | None,
    socket: Path | None,
    socket_mode: str | None,
    insecure_loopback: str | None,
    insecure_loopback_user: str | None,
    embedded: bool,
    only_check: bool,
    explained_user: str | None,
    events: tuple[str, ...],
) -> None:
    """Serve kernel events to unprivileged clients."""
    if events and explained_user is None:
        raise click.UsageError(f"EVENTS are for --explain-policy, not {' '.join(events)!r}")

    def configured() -> Config:
        config = _configured(load_config(config_file), socket, socket_mode, embedded)
        config = _with_plain_tcp(config, insecure_loopback, insecure_loopback_user)
        # The rules of the host are for its daemon; an embedded one has those of a file that is
        # named.
        return _owned(config, config_file is not None) if embedded else config

    config = configured()
    if only_check:
        sys.exit(check.run(config))
    if explained_user is not None:
        from ptraced.policy import explain

        sys.exit(explain.run(config, explained_user, events))
    log.set_up(config.log)
    _serve(config, embedded, configured)


def _configured(
    config: Config, socket: Path | None, socket_mode: str | None, embedded: bool
) -> Config:
    server = config.server
    if socket is not None:
        server = replace(server, socket=socket.absolute())
    if embedded:
        server = replace(server, socket_mode=0o600, socket_group="", insecure_loopback="")
        config = replace(config, tls=Tls())
    if socket_mode is not None:
        server = replace(server, socket_mode=_mode(socket_mode))
    return replace(config, server=server)


def _with_plain_tcp(config: Config, address: str | None, user: str | None) -> Config:
    server = config.server
    if address is not None:
        try:
            server = replace(server, insecure_loopback=config_values.loopback(address))
        except ValueError as error:
            raise TraceError(f"error: --insecure-loopback {error}") from None
    if user is not None:
        server = replace(server, insecure_loopback_user=user)
    if server.insecure_loopback and not server.insecure_loopback_user:
        raise TraceError("error: --insecure-loopback needs --insecure-loopback-user NAME")
    return replace(config, server=server)


def _owned(config: Config, with_rules: bool) -> Config:
    """The configuration of an embedded daemon, which allows everything to who runs it."""
    rules = config.policy.rules if with_rules else ()
    if not with_rules:
        # These are the host's daemon's, too.
        config = replace(config, audit=replace(config.audit, file=None), metrics=Metrics())
    return replace(config, policy=Policy((builtin.owner(os.getuid()), *rules)))


def _mode(text: str) -> int:
    try:
        return config_values.mode(text)
    except ValueError as error:
        raise TraceError(f"error: --socket-mode {error}") from None


def _serve(config: Config, embedded: bool, configured: Callable[[], Config]) -> None:
    from ptraced.server import Server

    manager = ServiceManager()
    privileges.raise_limits()
    with ExitStack() as resources:
        files = Path(resources.enter_context(_state_beside(config))) if embedded else None

        def placed(config: Config) -> Config:
            if files is None:
                return config
            return replace(config, server=replace(config.server, state_dir=files))

        signals = _signal_descriptor()
        server = Server(placed(config))
        resources.callback(server.stop)
        if embedded:
            print("ready", flush=True)
        with manager.serving(server.responds):

            def reload() -> None:
                with manager.reloading():
                    _reload(server, lambda: placed(configured()))

            _wait(signals, embedded, reload)
        log.event("stopping")


def _state_beside(config: Config) -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix=".state-", dir=config.server.socket.parent)


def _reload(server: Server, configured: Callable[[], Config]) -> None:
    """Have a server take the configuration of now; of one with mistakes, nothing."""
    server.reopen_files()
    try:
        server.reload(configured())
    except TraceError as error:
        server.reload_failed(str(error))
        for mistake in str(error).splitlines():
            log.event(mistake.removeprefix("error: "), logging.ERROR)
        log.event("not reloaded: the configuration of before stays", logging.ERROR)


def _signal_descriptor() -> int:
    """A descriptor from which the numbers of SIGTERM, SIGINT and SIGHUP are read, a byte each."""
    reading, writing = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    signal.set_wakeup_fd(writing)
    for number in (*_STOP, signal.SIGHUP):
        signal.signal(number, lambda *_: None)
    return reading


def _wait(signals: int, embedded: bool, reload: Callable[[], None]) -> None:
    """Reload at SIGHUP; return at the signals to stop, or at the end of an embedder's input."""
    watched = [signals] + [sys.stdin.fileno()] * embedded
    while True:
        readable, _, _ = select.select(watched, [], [])
        arrived = os.read(readable[0], 4096)
        if not arrived or (readable[0] == signals and not _STOP.isdisjoint(arrived)):
            return
        if readable[0] == signals and signal.SIGHUP in arrived:
            reload()


def main() -> None:
    """Entry point: errors that the user can put right end with status 2 and their text."""
    try:
        command.main(standalone_mode=True)
    except TraceError as error:
        print(error, file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
