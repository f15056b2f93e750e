"""A small certificate authority: keys, certificates and a revocation list in a directory.

    ca.crt ca.key           the authority; clients and the daemon need ca.crt only
    crl.pem                 what it has revoked
    server.crt server.key   for the daemon
    users/NAME/             for a user: ca.crt, user.crt, user.key
    issued/SERIAL.crt       all that it has ever signed

Keys are of the curve P-256, which every TLS has. Nothing that is there is overwritten.
"""

from __future__ import annotations

import datetime
import fcntl
import ipaddress
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from ptraced.errors import NotFound, TraceError
from ptraced.peer import MAX_NAME, NAME

_CA_DAYS = 3650
_CERTIFICATE_DAYS = 730
# A clock that is behind takes a new certificate all the same.
_EARLIER = datetime.timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Issued:
    """A certificate that was signed; times are UTC."""

    name: str
    kind: str
    serial: int
    expires: datetime.datetime
    revoked: bool


class Authority:
    """The authority in a directory. All methods raise TraceError, which says what to do."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def create(self, name: str, days: int = _CA_DAYS) -> None:
        """Make the authority's own key and certificate, and an empty revocation list."""
        self.directory.mkdir(mode=0o755, parents=True, exist_ok=True)
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        builder = (
            _builder(subject, subject, key.public_key(), days)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(certificates=True), critical=True)
        )
        certificate = builder.sign(key, hashes.SHA256())
        _write_new(self._path("ca.key"), _pem_of_key(key), 0o600)
        _write_new(self._path("ca.crt"), _pem(certificate), 0o644)
        (self.directory / "issued").mkdir(mode=0o755, exist_ok=True)
        (self.directory / "users").mkdir(mode=0o700, exist_ok=True)
        self._write_crl([])

    def issue_server(self, names: Sequence[str], days: int = _CERTIFICATE_DAYS) -> None:
        """Make server.key and server.crt for host names and IP addresses."""
        with self._locked():
            self._refuse_existing("server.key", "server.crt")
            alternatives = x509.SubjectAlternativeName([_general_name(name) for name in names])
            key, certificate = self._sign(
                names[0][:64], ExtendedKeyUsageOID.SERVER_AUTH, days, alternatives
            )
            _write_new(self._path("server.key"), _pem_of_key(key), 0o600)
            _write_new(self._path("server.crt"), _pem(certificate), 0o644)

    def issue_user(self, name: str, days: int = _CERTIFICATE_DAYS) -> Path:
        """Make the directory users/NAME with all that a client needs; return it."""
        if not NAME.fullmatch(name):
            raise TraceError(
                f"error: {name!r} is no name for a certificate: at most {MAX_NAME} letters, "
                'digits and "._@-"'
            )
        with self._locked():
            directory = self.directory / "users" / name
            if directory.exists():
                raise TraceError(
                    f"error: {directory} is there; `revoke {name}` first, which removes it"
                )
            key, certificate = self._sign(name, ExtendedKeyUsageOID.CLIENT_AUTH, days)
            directory.mkdir(mode=0o700, parents=True)
            _write_new(directory / "user.key", _pem_of_key(key), 0o600)
            _write_new(directory / "user.crt", _pem(certificate), 0o644)
            _write_new(directory / "ca.crt", self._read("ca.crt"), 0o644)
        return directory

    def revoke(self, name: str) -> int:
        """Revoke all certificates of a name, and remove its files; return how many they were."""
        with self._locked():
            now = datetime.datetime.now(datetime.UTC)
            hit = [issued.serial for issued in self.issued() if issued.name == name]
            listed = list(self._crl())
            before = {entry.serial_number for entry in listed}
            new = [serial for serial in hit if serial not in before]
            if not hit:
                raise NotFound(f"error: no certificate of {name!r} was issued; see `list`")
            for serial in new:
                revoked = x509.RevokedCertificateBuilder().serial_number(serial)
                listed.append(revoked.revocation_date(now).build())
            self._write_crl(listed)
            if NAME.fullmatch(name):
                shutil.rmtree(self.directory / "users" / name, ignore_errors=True)
        return len(new)

    def issued(self) -> list[Issued]:
        """All certificates that were signed, by name."""
        revoked = {entry.serial_number for entry in self._crl()}
        found = []
        for path in (self.directory / "issued").glob("*.crt"):
            certificate = x509.load_pem_x509_certificate(path.read_bytes())
            usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
            found.append(
                Issued(
                    name=_common_name(certificate),
                    kind="user" if ExtendedKeyUsageOID.CLIENT_AUTH in usage else "server",
                    serial=certificate.serial_number,
                    expires=_end(certificate),
                    revoked=certificate.serial_number in revoked,
                )
            )
        return sorted(found, key=lambda issued: (issued.name, issued.expires, issued.serial))

    def _sign(
        self,
        name: str,
        usage: x509.ObjectIdentifier,
        days: int,
        alternatives: x509.SubjectAlternativeName | None = None,
    ) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
        ca_key, ca = self._ca()
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key())
        builder = (
            _builder(subject, ca.subject, key.public_key(), days)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
            .add_extension(authority, critical=False)
        )
        if alternatives is not None:
            builder = builder.add_extension(alternatives, critical=False)
        certificate = builder.sign(ca_key, hashes.SHA256())
        path = self.directory / "issued" / f"{certificate.serial_number:x}.crt"
        _write_new(path, _pem(certificate), 0o644)
        return key, certificate

    def _ca(self) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
        key = serialization.load_pem_private_key(self._read("ca.key"), None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        return key, x509.load_pem_x509_certificate(self._read("ca.crt"))

    def _crl(self) -> Iterator[x509.RevokedCertificate]:
        yield from x509.load_pem_x509_crl(self._read("crl.pem"))

    def _write_crl(self, entries: Sequence[x509.RevokedCertificate]) -> None:
        """Put another list in place of the one that is there, which a daemon may be reading."""
        key, ca = self._ca()
        now = datetime.datetime.now(datetime.UTC)
        authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key())
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(ca.subject)
            .last_update(now - _EARLIER)
            # It lasts as long as the authority: nobody has to renew it by the clock.
            .next_update(_end(ca))
            .add_extension(x509.CRLNumber(int(now.timestamp() * 1e6)), critical=False)
            .add_extension(authority, critical=False)
        )
        for entry in entries:
            builder = builder.add_revoked_certificate(entry)
        content = builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
        path = self._path("crl.pem")
        new = path.with_suffix(".new")
        new.unlink(missing_ok=True)
        _write_new(new, content, 0o644)
        new.replace(path)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Two at a time would lose each other's revocations."""
        self._read("ca.crt")
        fd = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            os.close(fd)

    def _path(self, name: str) -> Path:
        return self.directory / name

    def _read(self, name: str) -> bytes:
        try:
            return self._path(name).read_bytes()
        except FileNotFoundError:
            raise NotFound(
                f"error: there is no {self._path(name)}; make an authority by `init`"
            ) from None
        except OSError as error:
            raise TraceError(f"error: cannot read {self._path(name)}: {error.strerror}") from None

    def _refuse_existing(self, *names: str) -> None:
        for name in names:
            if self._path(name).exists():
                raise TraceError(
                    f"error: {self._path(name)} is there; move it away to make another"
                )


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, days: int
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _EARLIER)
        .not_valid_after(now + datetime.timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _usage(certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=certificates,
        crl_sign=certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _common_name(certificate: x509.Certificate) -> str:
    (name,) = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(name.value)


def _end(certificate: x509.Certificate) -> datetime.datetime:
    # Before cryptography 42 times had no zone.
    if hasattr(certificate, "not_valid_after_utc"):
        return certificate.not_valid_after_utc
    return certificate.not_valid_after.replace(tzinfo=datetime.UTC)


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _pem_of_key(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def _write_new(path: Path, content: bytes, mode: int) -> None:
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
        with os.fdopen(fd, "wb") as file:
            os.fchmod(fd, mode)
            file.write(content)
    except FileExistsError:
        raise TraceError(f"error: {path} is there, and is not overwritten") from None
    except OSError as error:
        raise TraceError(f"error: cannot write {path}: {error.strerror}") from None
