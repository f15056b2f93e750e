"""`ptraced-certs`: an authority whose certificates OpenSSL takes, and that overwrites nothing."""

from __future__ import annotations

import stat
import subprocess
import sys
from pathlib import Path

import pytest

from ptraced.certs import Authority
from ptraced.errors import NotFound, TraceError

CERTS = str(Path(sys.executable).with_name("ptraced-certs"))


def ptraced_certs(directory: Path, *arguments: str) -> tuple[int, str, str]:
    command = [CERTS, "--directory", str(directory), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


def openssl(*arguments: str | Path) -> str:
    command = ["openssl", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    made = Authority(tmp_path / "ca")
    made.create("test")
    return made


def test_the_command_makes_what_the_daemon_and_its_users_need(tmp_path: Path) -> None:
    directory = tmp_path / "ca"
    assert ptraced_certs(directory, "init")[0] == 0
    status, told, _ = ptraced_certs(directory, "server", "trace.example.org", "192.0.2.7")
    assert status == 0
    for name in ("server.crt", "server.key", "ca.crt", "crl.pem"):
        assert f'"{directory}/{name}"' in told
    status, told, _ = ptraced_certs(directory, "user", "alice@example.org")
    assert status == 0
    assert '"alice@example.org" = "LOCAL USER"' in told
    assert {path.name for path in (directory / "users/alice@example.org").iterdir()} == {
        "ca.crt",
        "user.crt",
        "user.key",
    }
    status, told, _ = ptraced_certs(directory, "revoke", "alice@example.org")
    assert (status, told) == (0, "revoked 1 certificate(s) of alice@example.org\n")
    _, told, _ = ptraced_certs(directory, "list")
    rows = [line.split()[:3] for line in told.splitlines()]
    assert rows == [
        ["user", "alice@example.org", "revoked"],
        ["server", "trace.example.org", "until"],
    ]


def test_openssl_takes_them_for_their_purpose_only(authority: Authority) -> None:
    directory = authority.directory
    authority.issue_server(["trace.example.org", "192.0.2.7", "2001:db8::7"])
    user = authority.issue_user("alice")
    trust = ("-CAfile", directory / "ca.crt")
    for purpose, right, wrong in (
        ("sslserver", directory / "server.crt", user / "user.crt"),
        ("sslclient", user / "user.crt", directory / "server.crt"),
    ):
        check = ("verify", "-x509_strict", *trust, "-purpose", purpose)
        assert openssl(*check, right) == f"{right}: OK\n"
        assert "certificate purpose" in openssl(*check, wrong)
    for name in ("trace.example.org", "192.0.2.7", "2001:db8::7"):
        option = "-verify_hostname" if name.endswith("org") else "-verify_ip"
        assert openssl("verify", *trust, option, name, directory / "server.crt").endswith("OK\n")


def test_a_revoked_certificate_is_on_the_list(authority: Authority) -> None:
    directory = authority.directory
    kept = []
    for name in ("alice", "bob"):
        files = authority.issue_user(name)
        kept.append(directory / f"{name}.crt")
        kept[-1].write_bytes((files / "user.crt").read_bytes())
    assert authority.revoke("alice") == 1
    check = (
        "verify",
        "-crl_check",
        "-CAfile",
        directory / "ca.crt",
        "-CRLfile",
        directory / "crl.pem",
    )
    assert "certificate revoked" in openssl(*check, kept[0])
    assert openssl(*check, kept[1]) == f"{kept[1]}: OK\n"
    # Who is revoked gets another one, which counts.
    again = authority.issue_user("alice")
    assert openssl(*check, again / "user.crt").endswith("OK\n")
    assert authority.revoke("bob") == 1
    assert "certificate revoked" in openssl(*check, kept[0])
    assert authority.revoke("bob") == 0


def test_keys_are_for_their_owner_only(authority: Authority) -> None:
    authority.issue_server(["localhost"])
    authority.issue_user("alice")
    keys = list(authority.directory.rglob("*.key"))
    assert len(keys) == 3
    assert {stat.S_IMODE(key.stat().st_mode) for key in keys} == {0o600}
    assert stat.S_IMODE((authority.directory / "users").stat().st_mode) == 0o700


def test_nothing_is_overwritten(authority: Authority) -> None:
    directory = authority.directory
    authority.issue_server(["localhost"])
    authority.issue_user("alice")
    before = {path: path.read_bytes() for path in directory.rglob("*.*") if path.is_file()}
    assert ptraced_certs(directory, "init") == (
        2,
        "",
        f"error: {directory}/ca.key is there, and is not overwritten\n",
    )
    assert ptraced_certs(directory, "server", "localhost") == (
        2,
        "",
        f"error: {directory}/server.key is there; move it away to make another\n",
    )
    assert ptraced_certs(directory, "user", "alice") == (
        2,
        "",
        f"error: {directory}/users/alice is there; `revoke alice` first, which removes it\n",
    )
    after = {path: path.read_bytes() for path in directory.rglob("*.*") if path.is_file()}
    assert after == before


@pytest.mark.parametrize("name", ["", "../x", "a/b", "-x", "a b", "x" * 37, "ä", "a\n"])
def test_names_of_users_are_plain(authority: Authority, name: str) -> None:
    with pytest.raises(TraceError, match="is no name for a certificate"):
        authority.issue_user(name)


def test_mistakes_are_told(tmp_path: Path, authority: Authority) -> None:
    with pytest.raises(NotFound) as caught:
        Authority(tmp_path / "none").issue_user("alice")
    assert str(caught.value) == (
        f"error: there is no {tmp_path}/none/ca.crt; make an authority by `init`"
    )
    with pytest.raises(NotFound, match="no certificate of 'nobody' was issued"):
        authority.revoke("nobody")
