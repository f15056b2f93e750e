"""The command `ptraced-certs`: certificates for those who have no authority of their own."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import sys
from pathlib import Path

import click

from ptraced import __version__, log
from ptraced.certs import Authority
from ptraced.errors import TraceError
from ptraced.peer import MAX_NAME

_DIRECTORY = Path("/etc/ptraced/tls")
_DAEMON_USER = "ptraced"


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--directory",
    type=click.Path(path_type=Path, file_okay=False),
    default=_DIRECTORY,
    show_default=True,
    help="Where the authority is.",
)
@click.version_option(__version__, "--version", "-V", prog_name="ptraced-certs")
@click.pass_context
def command(context: click.Context, directory: Path) -> None:
    """Make certificates for ptraced's TLS port and for its users."""
    context.obj = Authority(directory)


@command.command()
@click.option("--name", default=None, help="What the authority calls itself.")
@click.pass_obj
def init(authority: Authority, name: str | None) -> None:
    """Make the authority."""
    authority.create(name or f"ptraced of {socket.gethostname()}"[:64])
    print(f"made {authority.directory}/ca.crt; keep {authority.directory}/ca.key to yourself")


@command.command()
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@click.option("--days", type=click.IntRange(1, 3650), default=730, show_default=True)
@click.pass_obj
def server(authority: Authority, names: tuple[str, ...], days: int) -> None:
    """Make the daemon's certificate, for all names and addresses that clients call it."""
    authority.issue_server(names, days)
    directory = authority.directory
    if os.getuid() == 0 and (owner := _daemon_user()) is not None:
        shutil.chown(directory / "server.key", owner)
    print(
        f"made {directory}/server.crt and server.key; for the daemon's configuration:\n\n"
        f'[tls]\nlisten = "0.0.0.0:7879"\ncertificate = "{directory}/server.crt"\n'
        f'key = "{directory}/server.key"\nclient_ca = "{directory}/ca.crt"\n'
        f'crl = "{directory}/crl.pem"\n\n[tls.users]\n# name in the certificate = user here'
    )


@command.command()
@click.argument("name")
@click.option("--days", type=click.IntRange(1, 3650), default=730, show_default=True)
@click.pass_obj
def user(authority: Authority, name: str, days: int) -> None:
    """Make a user's certificate."""
    directory = authority.issue_user(name, days)
    print(
        f"made {directory}; the user keeps its files in ~/.config/ptraced, and the daemon needs\n\n"
        f'[tls.users]\n"{name}" = "LOCAL USER"'
    )


@command.command()
@click.argument("name")
@click.pass_obj
def revoke(authority: Authority, name: str) -> None:
    """Revoke all certificates of a name; a daemon that runs takes notice."""
    print(f"revoked {authority.revoke(name)} certificate(s) of {log.printable(name)}")


@command.command("list")
@click.pass_obj
def list_(authority: Authority) -> None:
    """Show what was issued."""
    for issued in authority.issued():
        state = "revoked" if issued.revoked else f"until {issued.expires:%Y-%m-%d}"
        print(f"{issued.kind:6}  {issued.name:{MAX_NAME}}  {state:16}  {issued.serial:x}")


def _daemon_user() -> str | None:
    try:
        return pwd.getpwnam(_DAEMON_USER).pw_name
    except KeyError:
        return None


def main() -> None:
    """Entry point: errors that the user can put right end with status 2 and their text."""
    try:
        command.main(standalone_mode=True)
    except TraceError as error:
        print(error, file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
