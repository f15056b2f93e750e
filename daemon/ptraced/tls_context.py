"""The files that TLS needs, and what OpenSSL makes of them."""

from __future__ import annotations

import os
import ssl
import stat
from dataclasses import dataclass
from pathlib import Path

from ptraced.errors import Unavailable

# What the files were when they were read: changes with each of them.
Stamp = tuple[tuple[int, int, int], ...]


@dataclass(frozen=True, slots=True)
class Files:
    """PEM files: the server's certificate (with its chain) and key, the CA of the clients, and
    the list of what that CA revoked."""

    certificate: Path
    key: Path
    client_ca: Path
    crl: Path | None = None

    def stamp(self) -> Stamp:
        """What the files are now; raises Unavailable where one is not there."""
        return tuple(_stamp(path) for path in self._all() if path is not None)

    def context(self) -> ssl.SSLContext:
        """For servers of HTTP/2 over TLS 1.3 whose clients show a certificate of the CA's.

        Raises Unavailable, which names the file that is wrong.
        """
        self._check_key()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.verify_mode = ssl.CERT_REQUIRED
        context.set_alpn_protocols(["h2"])
        # Every connection shows its certificate: a resumed one would not be asked again.
        context.num_tickets = 0
        self._load_certificate(context)
        self._load_trust(context)
        return context

    def _all(self) -> tuple[Path | None, ...]:
        return (self.certificate, self.key, self.client_ca, self.crl)

    def _check_key(self) -> None:
        if stat.S_IMODE(_status(self.key).st_mode) & 0o077:
            raise Unavailable(
                f"error: others may read the key {self.key}; `chmod 600` it, and make a new one "
                "if somebody has"
            )

    def _load_certificate(self, context: ssl.SSLContext) -> None:
        for path in (self.certificate, self.key):
            _check_readable(path)
        try:
            context.load_cert_chain(self.certificate, self.key, password=lambda: b"")
        except ssl.SSLError as error:
            if error.reason == "KEY_VALUES_MISMATCH":
                what = f"the key {self.key} is not that of the certificate {self.certificate}"
            else:
                what = (
                    f"{self.certificate} and {self.key} are no certificate and unencrypted key in "
                    f"PEM ({error.reason or error})"
                )
            raise Unavailable(f"error: {what}") from None

    def _load_trust(self, context: ssl.SSLContext) -> None:
        _load(context, self.client_ca, "x509_ca", "certificate of a CA")
        if self.crl is not None:
            _load(context, self.crl, "crl", "revocation list")
            context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF


def revoked_serials(crl: Path) -> frozenset[int]:
    """The serial numbers on a revocation list; raises OSError or ValueError."""
    # Seldom needed, and large.
    from cryptography import x509

    return frozenset(entry.serial_number for entry in x509.load_pem_x509_crl(crl.read_bytes()))


def _load(context: ssl.SSLContext, path: Path, kind: str, what: str) -> None:
    _check_readable(path)
    try:
        context.load_verify_locations(path)
    except ssl.SSLError:
        pass
    if not context.cert_store_stats()[kind]:
        raise Unavailable(f"error: there is no {what} in {path}; it must be PEM")


def _check_readable(path: Path) -> None:
    """OpenSSL's errors do not name the file."""
    try:
        os.close(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK))
    except OSError as error:
        raise Unavailable(
            f"error: the daemon cannot read {path}: {error.strerror}; "
            "it must belong to the daemon's user"
        ) from None


def _status(path: Path) -> os.stat_result:
    try:
        return path.stat()
    except OSError as error:
        raise Unavailable(f"error: the daemon cannot use {path}: {error.strerror}") from None


def _stamp(path: Path) -> tuple[int, int, int]:
    status = _status(path)
    return status.st_ino, status.st_size, status.st_mtime_ns
