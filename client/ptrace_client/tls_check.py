"""Why a connection with TLS does not come about: gRPC does not tell."""

from __future__ import annotations

import socket
import ssl
from typing import Final

from ptrace_client.endpoint import NoDaemonError
from ptrace_client.errors import ClientError
from ptrace_client.tls import TlsFiles

# Seconds for each step of a try.
_TIMEOUT: Final = 5.0

# What a client of HTTP/2 says first (RFC 9113, 3.4): after that a server has to answer.
_GREETING: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes.fromhex("000000 04 00 00000000")

# X509_V_ERR_*, include/openssl/x509_vfy.h
_EXPIRED: Final = (10,)
_UNKNOWN_ISSUER: Final = (2, 18, 19, 20, 21)
_OTHER_NAME: Final = (62, 64)


def check(files: TlsFiles, host: str, port: int, shown: str) -> None:
    """Connect once, and raise ClientError with the reason where that fails."""
    context = _context(files)
    try:
        plain = socket.create_connection((host, port), _TIMEOUT)
    except OSError as error:
        raise NoDaemonError(
            f"no daemon: cannot connect to {shown}: {error.strerror or error}; "
            "does ptraced run there, with tls.listen set?"
        ) from None
    with plain:
        try:
            with context.wrap_socket(plain, server_hostname=host) as connection:
                # With TLS 1.3 a server looks at the client's certificate when the client
                # takes the connection for made.
                connection.sendall(_GREETING)
                if connection.recv(1):
                    return
        except ssl.SSLError as error:
            raise ClientError(_reason(files, error, host, shown)) from None
        except OSError as error:
            why = f"broke off: {error.strerror or error}"
            raise ClientError(f"the connection to {shown} {why}") from None
    raise ClientError(
        f"the daemon at {shown} closed the connection at once: it may have too many from here"
    )


def _context(files: TlsFiles) -> ssl.SSLContext:
    files.read()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.set_alpn_protocols(["h2"])
    try:
        context.load_verify_locations(files.ca)
    except ssl.SSLError:
        raise ClientError(f"{files.ca} is no certificate in PEM") from None
    try:
        context.load_cert_chain(files.certificate, files.key, password=lambda: b"")
    except ssl.SSLError:
        raise ClientError(
            f"{files.certificate} and {files.key} are no certificate and its unencrypted key"
        ) from None
    return context


def _reason(files: TlsFiles, error: ssl.SSLError, host: str, shown: str) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return _mistrusted(files, error, host, shown)
    own = f"your certificate {files.certificate}"
    ask = "ask the administrator of that daemon for another"
    reason = error.reason or ""
    if "CERTIFICATE_EXPIRED" in reason:
        return f"{own} has expired, or the list of revoked ones there has; {ask}"
    if "CERTIFICATE_REVOKED" in reason:
        return f"{own} has been revoked; {ask}"
    if "UNKNOWN_CA" in reason:
        return f"the daemon at {shown} does not trust the authority of {own}; {ask}"
    if "CERTIFICATE" in reason:
        return f"the daemon at {shown} refuses {own}; {ask}"
    if reason in ("WRONG_VERSION_NUMBER", "UNEXPECTED_EOF_WHILE_READING", "RECORD_LAYER_FAILURE"):
        return f"what listens at {shown} does not speak TLS: is that the daemon's tls.listen?"
    return f"TLS with {shown} failed: {reason or error}"


def _mistrusted(files: TlsFiles, error: ssl.SSLCertVerificationError, host: str, shown: str) -> str:
    if error.verify_code in _UNKNOWN_ISSUER:
        return (
            f"the certificate of {shown} is of another authority than {files.ca}: either that "
            "file is of another daemon, or somebody stands between"
        )
    if error.verify_code in _EXPIRED:
        return f"the certificate of {shown} has expired; tell its administrator"
    if error.verify_code in _OTHER_NAME:
        return (
            f"the certificate of {shown} is not for the name {host}; connect by a name that it "
            "has, or ask its administrator for one with this name"
        )
    return f"the certificate of {shown} is not right: {error.verify_message}"
