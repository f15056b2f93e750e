"""The TLS port: who gets in, who does not and is told why, and files that change."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import socket
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from tls_service import (
    MESSAGE,
    TIMEOUT,
    TlsService,
    make_authority,
    settings,
)

from ptraced.certs import Authority
from ptraced.config import Tls
from ptraced.connection_limits import ConnectionLimits
from ptraced.errors import Unavailable
from ptraced.peer import Credentials
from ptraced.tls_front import TlsFront

NOBODY = pwd.getpwnam("nobody")
GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes.fromhex("000000 04 00 00000000")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """An authority that tests only read."""
    return make_authority(tmp_path_factory.mktemp("ca"), "alice", "mallory", "ghost")


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., TlsService]]:
    """Starts a service behind a TLS port."""
    started = []

    def start(config: Tls, **more: Any) -> TlsService:
        started.append(TlsService(tmp_path, config, **more))
        return started[-1]

    yield start
    for service in started:
        service.stop()


@pytest.fixture
def service(serve: Callable[..., TlsService], authority: Authority) -> TlsService:
    return serve(settings(authority, {"alice": "nobody", "ghost": "no-such-user"}))


def user(authority: Authority, name: str) -> Path:
    return authority.directory / "users" / name


def who(service: TlsService, files: Path) -> str:
    with service.channel(files) as channel:
        return str(channel.unary_unary("/test.Test/Who")(b"", timeout=TIMEOUT), "ascii")


def refused(service: TlsService, files: Path) -> grpc.RpcError:
    with pytest.raises(grpc.RpcError) as caught:
        who(service, files)
    return caught.value


def next_event(service: TlsService, kind: str) -> dict[str, Any]:
    while True:
        event = service.events.get(timeout=TIMEOUT)
        if event["kind"] == kind:
            return event


def context_for(authority: Authority, files: Path | None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=authority.directory / "ca.crt")
    if files is not None:
        context.load_cert_chain(files / "user.crt", files / "user.key")
    return context


def greet(service: TlsService, context: ssl.SSLContext) -> bytes:
    """The first byte of the answer to a client that begins HTTP/2."""
    port = service.front.port
    with (
        socket.create_connection(("127.0.0.1", port), TIMEOUT) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as connection,
    ):
        connection.sendall(GREETING)
        return connection.recv(1)


def test_a_certificate_makes_its_bearer_the_user_that_it_is_mapped_to(
    service: TlsService, authority: Authority
) -> None:
    answer = who(service, user(authority, "alice"))
    address = next_event(service, "connect")["address"]
    assert address.startswith("127.0.0.1:")
    assert answer == repr(Credentials(NOBODY.pw_uid, NOBODY.pw_gid, 0, address, "alice"))
    left = next_event(service, "disconnect")
    assert (left["uid"], left["certificate"]) == (NOBODY.pw_uid, "alice")


def test_streams_pass_whole(service: TlsService, authority: Authority) -> None:
    with service.channel(user(authority, "alice")) as channel:
        messages = channel.unary_stream("/test.Test/Read")(b"40", timeout=TIMEOUT)
        assert [message == MESSAGE for message in messages] == [True] * 40


def test_a_client_that_never_reads_holds_up_nobody(
    service: TlsService, authority: Authority
) -> None:
    files = user(authority, "alice")
    with service.channel(files) as slow, service.channel(files) as quick:
        stalled = slow.unary_stream("/test.Test/Read")(b"1000", timeout=TIMEOUT)
        assert next(stalled) == MESSAGE
        messages = quick.unary_stream("/test.Test/Read")(b"20", timeout=TIMEOUT)
        assert sum(len(message) for message in messages) == 20 * len(MESSAGE)
        stalled.cancel()


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        (
            "mallory",
            "the certificate of mallory belongs to no user here: ask the administrator for a line "
            "in [tls.users]",
        ),
        ("ghost", "the certificate of ghost stands for a user that this host does not have"),
    ],
)
def test_a_certificate_of_another_name_is_refused_and_told_why(
    service: TlsService, authority: Authority, name: str, reason: str
) -> None:
    error = refused(service, user(authority, name))
    assert (error.code(), error.details()) == (grpc.StatusCode.PERMISSION_DENIED, reason)
    event = next_event(service, "refused")
    assert (event["uid"], event["certificate"], event["reason"]) == (None, name, reason)


def test_a_certificate_of_another_authority_is_refused(
    service: TlsService, authority: Authority, tmp_path: Path
) -> None:
    other = make_authority(tmp_path / "other", "alice")
    context = context_for(authority, user(other, "alice"))
    with pytest.raises(ssl.SSLError, match="UNKNOWN_CA"):
        greet(service, context)
    assert next_event(service, "refused")["reason"] == "TLS: unable to get local issuer certificate"


def test_an_expired_certificate_is_refused(
    serve: Callable[..., TlsService], tmp_path: Path
) -> None:
    authority = make_authority(tmp_path / "ca")
    authority.issue_user("alice", days=0)
    service = serve(settings(authority, {"alice": "nobody"}))
    with pytest.raises(ssl.SSLError, match="CERTIFICATE_EXPIRED"):
        greet(service, context_for(authority, user(authority, "alice")))
    assert next_event(service, "refused")["reason"] == "TLS: certificate has expired"


def test_a_server_certificate_does_not_make_a_client(
    service: TlsService, authority: Authority
) -> None:
    context = context_for(authority, None)
    context.load_cert_chain(authority.directory / "server.crt", authority.directory / "server.key")
    with pytest.raises(ssl.SSLError, match="CERTIFICATE"):
        greet(service, context)
    reason = next_event(service, "refused")["reason"]
    assert reason in ("TLS: unsupported certificate purpose", "TLS: unsuitable certificate purpose")


def test_a_client_without_a_certificate_is_refused(
    service: TlsService, authority: Authority
) -> None:
    with pytest.raises(ssl.SSLError, match="CERTIFICATE_REQUIRED"):
        greet(service, context_for(authority, None))
    reason = next_event(service, "refused")["reason"]
    assert reason == "TLS: PEER_DID_NOT_RETURN_A_CERTIFICATE"


def test_older_tls_is_refused(service: TlsService, authority: Authority) -> None:
    context = context_for(authority, user(authority, "alice"))
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(ssl.SSLError, match="PROTOCOL_VERSION"):
        greet(service, context)
    assert next_event(service, "refused")["reason"] == "TLS: UNSUPPORTED_PROTOCOL"


def test_a_plain_client_is_refused(service: TlsService) -> None:
    with socket.create_connection(("127.0.0.1", service.front.port), TIMEOUT) as plain:
        plain.sendall(GREETING)
        assert GREETING[:3] not in plain.recv(100)
    assert next_event(service, "refused")["reason"].startswith("TLS: ")


def test_one_who_connects_and_says_nothing_is_shown_out(
    serve: Callable[..., TlsService], authority: Authority
) -> None:
    service = serve(settings(authority, {"alice": "nobody"}), patience=0.2)
    with socket.create_connection(("127.0.0.1", service.front.port), TIMEOUT) as plain:
        assert plain.recv(1) == b""
    assert next_event(service, "refused")["reason"] == "no HTTP/2 within 0.2 s"


def test_handshakes_that_stand_still_keep_nobody_out(
    service: TlsService, authority: Authority
) -> None:
    context = context_for(authority, user(authority, "alice"))
    with contextlib.ExitStack() as held:
        for number in range(150):
            source = (f"127.0.0.{2 + number % 3}", 0)
            silent = socket.create_connection(
                ("127.0.0.1", service.front.port), TIMEOUT, source_address=source
            )
            held.enter_context(silent)
        assert greet(service, context)
    reason = "too many TLS handshakes at once (limit 128)"
    while next_event(service, "refused")["reason"] != reason:
        pass


def test_an_address_has_its_share_of_connections(
    serve: Callable[..., TlsService], authority: Authority
) -> None:
    limits = ConnectionLimits(total=64, per_user=2)
    service = serve(settings(authority, {"alice": "nobody"}), limits=limits)
    address = ("127.0.0.1", service.front.port)
    with (
        socket.create_connection(address),
        socket.create_connection(address),
        socket.create_connection(address, TIMEOUT) as third,
    ):
        assert third.recv(1) == b""
    reason = "too many connections from 127.0.0.1 (limit 2)"
    assert next_event(service, "refused")["reason"] == reason
    # Their places are free again once it is seen that they are gone.
    context = context_for(authority, user(authority, "alice"))
    while True:
        try:
            assert greet(service, context)
        except ConnectionResetError:
            continue
        break


class TestReload:
    def test_a_revoked_certificate_is_refused_and_its_connections_end(
        self, serve: Callable[..., TlsService], tmp_path: Path
    ) -> None:
        authority = make_authority(tmp_path / "ca", "alice", "bob")
        kept = tmp_path / "kept"
        shutil.copytree(user(authority, "alice"), kept)
        service = serve(settings(authority, {"alice": "nobody", "bob": "nobody"}))
        with service.channel(kept) as channel, service.channel(user(authority, "bob")) as other:
            others = other.unary_stream("/test.Test/Read")(b"1000", timeout=TIMEOUT)
            next(others)
            stream = channel.unary_stream("/test.Test/Read")(b"100000", timeout=TIMEOUT)
            next(stream)
            assert authority.revoke("alice") == 1
            with pytest.raises(grpc.RpcError):
                list(stream)
            assert sum(1 for _ in others) == 999
        left = next_event(service, "disconnect")
        assert left["certificate"] == "alice"
        assert left["reason"] == "the certificate has been revoked, or its CA exchanged"
        with pytest.raises(ssl.SSLError, match="CERTIFICATE_REVOKED"):
            greet(service, context_for(authority, kept))
        assert next_event(service, "refused")["reason"] == "TLS: certificate revoked"

    def test_another_certificate_of_the_server_is_taken(
        self, serve: Callable[..., TlsService], tmp_path: Path
    ) -> None:
        authority = make_authority(tmp_path / "ca", "alice")
        service = serve(settings(authority, {"alice": "nobody"}))
        before = _shown(service, authority)
        for name in ("server.crt", "server.key"):
            (authority.directory / name).rename(tmp_path / name)
        authority.issue_server(["localhost"])
        while _shown(service, authority) == before:
            pass
        assert "alice" in who(service, user(authority, "alice"))

    def test_broken_files_leave_the_old_ones_in_use(
        self, serve: Callable[..., TlsService], tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        authority = make_authority(tmp_path / "ca", "alice")
        service = serve(settings(authority, {"alice": "nobody"}))
        (authority.directory / "server.crt").write_text("nonsense")
        while not caplog.records:
            os.sched_yield()
        assert "alice" in who(service, user(authority, "alice"))
        (record,) = caplog.records
        assert record.message == (
            "the files of TLS have changed and are not right: the old ones stay"
        )

    def test_users_are_taken_anew(
        self, serve: Callable[..., TlsService], authority: Authority
    ) -> None:
        service = serve(settings(authority, {"alice": "nobody"}))
        with service.channel(user(authority, "alice")) as channel:
            stream = channel.unary_stream("/test.Test/Read")(b"100000", timeout=TIMEOUT)
            next(stream)
            service.front.set_users({"mallory": "nobody"})
            with pytest.raises(grpc.RpcError):
                list(stream)
        assert "mallory" in who(service, user(authority, "mallory"))
        assert refused(service, user(authority, "alice")).code() is (
            grpc.StatusCode.PERMISSION_DENIED
        )


def _shown(service: TlsService, authority: Authority) -> bytes | None:
    """The certificate that the server shows."""
    context = context_for(authority, user(authority, "alice"))
    with (
        socket.create_connection(("127.0.0.1", service.front.port), TIMEOUT) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as connection,
    ):
        return connection.getpeercert(binary_form=True)


class TestFiles:
    def test_a_list_that_has_expired_lets_nobody_in(
        self, serve: Callable[..., TlsService], authority: Authority, tmp_path: Path
    ) -> None:
        from datetime import UTC, datetime, timedelta

        from cryptography import x509
        from cryptography.hazmat.primitives import hashes, serialization

        directory = authority.directory
        key = serialization.load_pem_private_key((directory / "ca.key").read_bytes(), None)
        ca = x509.load_pem_x509_certificate((directory / "ca.crt").read_bytes())
        now = datetime.now(UTC)
        builder = x509.CertificateRevocationListBuilder().issuer_name(ca.subject)
        builder = builder.last_update(now - timedelta(2)).next_update(now - timedelta(1))
        expired = builder.sign(key, hashes.SHA256())  # type: ignore[arg-type]
        path = tmp_path / "crl.pem"
        path.write_bytes(expired.public_bytes(serialization.Encoding.PEM))
        base = settings(authority, {"alice": "nobody"})
        config = Tls(
            listen=base.listen,
            certificate=base.certificate,
            key=base.key,
            client_ca=base.client_ca,
            crl=path,
            users=base.users,
        )
        service = serve(config)
        with pytest.raises(ssl.SSLError):
            greet(service, context_for(authority, user(authority, "alice")))
        assert next_event(service, "refused")["reason"] == "TLS: CRL has expired"

    @pytest.mark.parametrize(
        ("spoil", "message"),
        [
            (
                lambda d: (d / "server.key").chmod(0o640),
                "error: others may read the key {d}/server.key; `chmod 600` it, and make a new one "
                "if somebody has",
            ),
            (
                lambda d: (d / "server.key").unlink(),
                "error: the daemon cannot use {d}/server.key: No such file or directory",
            ),
            (
                lambda d: (d / "ca.crt").write_text("x"),
                "error: there is no certificate of a CA in {d}/ca.crt; it must be PEM",
            ),
            (
                lambda d: (d / "crl.pem").write_text(""),
                "error: there is no revocation list in {d}/crl.pem; it must be PEM",
            ),
            (
                lambda d: (d / "server.crt").write_bytes((d / "users/alice/user.crt").read_bytes()),
                "error: the key {d}/server.key is not that of the certificate {d}/server.crt",
            ),
        ],
        ids=["open key", "no key", "no ca", "no crl", "other key"],
    )
    def test_there_is_no_start_without_the_right_files(
        self, tmp_path: Path, spoil: Callable[[Path], object], message: str
    ) -> None:
        authority = make_authority(tmp_path / "ca", "alice")
        spoil(authority.directory)
        limits = ConnectionLimits(total=64, per_user=2)
        front = TlsFront(settings(authority, {}), f"unix:{tmp_path}/inner", limits)
        with pytest.raises(Unavailable) as caught:
            front.start()
        assert str(caught.value) == message.format(d=authority.directory)


def test_a_port_that_is_taken_is_told(authority: Authority, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        config = Tls(listen=address)
        with pytest.raises(Unavailable) as caught:
            TlsFront(config, f"unix:{tmp_path}/inner", ConnectionLimits(total=1, per_user=1))
    assert str(caught.value) == (
        f"error: cannot listen on {address}: Address already in use; see tls.listen"
    )


def test_the_process_keeps_no_privilege(service: TlsService) -> None:
    process = service.front._process.process
    assert process is not None
    status = Path(f"/proc/{process.pid}/status").read_text()
    held = dict(line.split(":\t", 1) for line in status.splitlines())
    assert {int(held[name], 16) for name in ("CapPrm", "CapEff", "CapAmb", "CapInh")} == {0}
    assert held["NoNewPrivs"] == "1"
    assert os.readlink(f"/proc/{process.pid}/cwd").endswith("/inner")
