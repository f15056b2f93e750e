"""The files that a daemon elsewhere wants to see."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ptrace_client.errors import ClientError


@dataclass(frozen=True)
class TlsFiles:
    """PEM files: the authority that signed the daemon's certificate, and one's own."""

    ca: Path
    certificate: Path
    key: Path

    def read(self) -> tuple[bytes, bytes, bytes]:
        """Return the contents. Raise ClientError where one cannot be read."""
        return _read(self.ca), _read(self.certificate), _read(self.key)

    def check(self, host: str, port: int, shown: str) -> None:
        """Connect once, and raise ClientError with the reason where that fails."""
        # TLS of Python's own is needed for that only.
        from ptrace_client.tls_check import check

        check(self, host, port, shown)


def find_tls(
    folder: str | os.PathLike[str] | None = None,
    ca: str | None = None,
    certificate: str | None = None,
    key: str | None = None,
    environment: Mapping[str, str] = os.environ,
) -> TlsFiles:
    """Return the files in a folder, or those that are named.

    The folder is the one given, else PTRACED_TLS, else ptraced in the user's configuration
    (XDG_CONFIG_HOME). It has ca.crt, user.crt and user.key.
    """
    folder = folder or environment.get("PTRACED_TLS") or None
    if folder is None:
        home = environment.get("XDG_CONFIG_HOME") or Path("~/.config").expanduser()
        folder = Path(home) / "ptraced"
    directory = Path(folder)
    return TlsFiles(
        Path(ca or directory / "ca.crt"),
        Path(certificate or directory / "user.crt"),
        Path(key or directory / "user.key"),
    )


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ClientError(
            f"cannot read {path}: {error.strerror}; a daemon elsewhere needs ca.crt, user.crt and "
            "user.key, from its administrator (`ptraced-certs user NAME`), in ~/.config/ptraced or "
            "named by --tls"
        ) from None
