"""Remote users by TLS, plain TCP on the loopback interface, and sockets from systemd."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from commandline import PTRACE_CLIENT, Ended, Run, open_folder, ptrace_client, wait_for_session
from leftovers import wait_until
from processes import Daemon

from ptrace_client.host import connect
from ptraced.certs import Authority
from unprivileged import NOBODY, as_user

EVENT = "syscalls:sys_enter_getppid"
RULES = """
[[rule]]
name = "remote"
users = ["nobody"]
events = ["syscalls:*"]
remote = true

[[rule]]
name = "root"
users = ["root"]
events = ["*"]
tasks = "all"
admin = true
"""
SCRIPT = """
seen = 0
def syscalls__sys_enter_getppid(event):
    global seen
    seen += 1
def __exit__():
    print("saw", seen)
"""
# As root and as nobody; the first line comes when it may begin.
CALLS = "import os, sys; sys.stdin.readline(); [os.getppid() for _ in range(1000)]"


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


class Remote:
    """A daemon with a TLS port, and an authority."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.authority = Authority(folder / "ca")
        self.authority.create("test")
        self.authority.issue_server(["localhost"])
        for user in ("alice", "mallory", "gone", "late"):
            self.authority.issue_user(user, days=0 if user == "late" else 10)
        self.port = free_port()
        ca = self.authority.directory
        config = (
            f'[tls]\nlisten = "127.0.0.1:{self.port}"\ncertificate = "{ca}/server.crt"\n'
            f'key = "{ca}/server.key"\nclient_ca = "{ca}/ca.crt"\ncrl = "{ca}/crl.pem"\n'
            f'[tls.users]\nalice = "nobody"\ngone = "nobody"\nlate = "nobody"\n{RULES}'
        )
        shutil.copytree(ca / "users/gone", folder / "gone")
        self.authority.revoke("gone")
        self.daemon = Daemon(folder, config=config)

    @property
    def address(self) -> str:
        return f"localhost:{self.port}"

    def files(self, user: str) -> Path:
        return self.authority.directory / "users" / user

    def status(self, *options: str | Path, address: str = "") -> Ended:
        return ptrace_client("status", "--host", address or self.address, *options)


@pytest.fixture(scope="module")
def remote() -> Iterator[Remote]:
    with open_folder() as folder:
        (folder / "script.py").write_text(SCRIPT)
        made = Remote(folder)
        yield made
        assert made.daemon.stop() == 0


def test_a_run_from_elsewhere_sees_the_events_of_the_user_that_its_certificate_names(
    remote: Remote,
) -> None:
    command = [PTRACE_CLIENT, "run", "--host", remote.address, "--tls", remote.files("alice")]
    python = ["/usr/bin/python3", "-c", CALLS]
    with (
        subprocess.Popen(python, stdin=subprocess.PIPE) as foreign,
        subprocess.Popen(as_user(python), stdin=subprocess.PIPE) as own,
        Run([*command, "-q", "-e", EVENT, "script.py"], remote.folder) as run,
        remote.daemon.connect() as host,
    ):
        session = wait_for_session(host, "script.py", run)
        (shown,) = (each for each in host.sessions() if each.session_id == session)
        assert (shown.caller.uid, shown.caller.user) == (NOBODY, "nobody")
        for program in (foreign, own):
            program.communicate(b"go\n")
        host.stop(session)
        assert run.end() == Ended(0, "saw 1000\n", "")


def test_status_tells_a_remote_caller_who_it_is(remote: Remote) -> None:
    ended = remote.status("--tls", remote.files("alice"))
    assert (ended.status, ended.err) == (0, "")
    assert f"you       nobody (uid {NOBODY}, gid {NOBODY})\n" in ended.out


def test_the_audit_names_certificate_and_address(remote: Remote) -> None:
    assert remote.status("--tls", remote.files("alice")).status == 0
    wait_until(lambda: "certificate=alice" in remote.daemon.log.read_text(), "the log tells")


@pytest.mark.parametrize(
    ("user", "text"),
    [
        ("mallory", "the certificate of mallory belongs to no user here: ask the administrator"),
        ("late", "user.crt has expired, or the list of revoked ones there has; ask"),
        ("gone", "user.crt has been revoked; ask the administrator of that daemon for another"),
    ],
)
def test_who_is_refused_is_told_why(remote: Remote, user: str, text: str) -> None:
    folder = remote.folder / "gone" if user == "gone" else remote.files(user)
    ended = remote.status("--tls", folder)
    assert (ended.status, ended.out) == (2, "")
    assert ended.err.startswith("error: ")
    assert ended.err.count("\n") == 1
    assert text in ended.err


def test_another_authority_is_told_on_both_sides(remote: Remote, tmp_path: Path) -> None:
    other = Authority(tmp_path / "ca")
    other.create("other")
    theirs = other.issue_user("alice")
    ended = remote.status("--tls", theirs)
    assert ended == Ended(
        2,
        "",
        f"error: the certificate of {remote.address} is of another authority than "
        f"{theirs}/ca.crt: either that file is of another daemon, or somebody stands between\n",
    )
    ended = remote.status("--tls", theirs, "--tls-ca", remote.files("alice") / "ca.crt")
    assert ended == Ended(
        2,
        "",
        f"error: the daemon at {remote.address} does not trust the authority of your certificate "
        f"{theirs}/user.crt; ask the administrator of that daemon for another\n",
    )


def test_a_name_that_the_certificate_does_not_have_is_told(remote: Remote) -> None:
    address = f"127.0.0.1:{remote.port}"
    ended = remote.status("--tls", remote.files("alice"), address=address)
    assert ended == Ended(
        2,
        "",
        f"error: the certificate of {address} is not for the name 127.0.0.1; connect by a name "
        "that it has, or ask its administrator for one with this name\n",
    )


def test_nothing_listens(remote: Remote) -> None:
    address = f"localhost:{free_port()}"
    ended = remote.status("--tls", remote.files("alice"), address=address)
    assert ended == Ended(
        2,
        "",
        f"error: no daemon: cannot connect to {address}: Connection refused; does ptraced run "
        "there, with tls.listen set?\n",
    )


def test_plain_tcp_at_the_tls_port_is_told_what_is_missing(remote: Remote) -> None:
    ended = remote.status()
    assert (ended.status, ended.out) == (2, "")
    assert "if the daemon speaks TLS there, name your certificates by --tls FOLDER" in ended.err


def test_a_remote_user_without_a_rule_for_remote_ones_may_nothing(tmp_path: Path) -> None:
    port = free_port()
    daemon = Daemon(
        tmp_path,
        "--insecure-loopback",
        f"127.0.0.1:{port}",
        "--insecure-loopback-user",
        "nobody",
        config=RULES.replace("remote = true", "remote = false"),
    )
    try:
        ended = ptrace_client("trace", "--host", f"127.0.0.1:{port}", "-e", EVENT, "-N", "1")
        assert (ended.status, ended.out) == (2, "")
        assert "no rule of this host's policy names you, nobody" in ended.err
        assert "for calls from elsewhere" in ended.err
        with connect(f"127.0.0.1:{port}") as host:
            assert (host.info.caller.uid, host.info.caller.user) == (NOBODY, "nobody")
    finally:
        assert daemon.stop() == 0


def test_sockets_of_systemd_are_served_and_left_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "ptraced.sock"
    activate = shutil.which("systemd-socket-activate")
    assert activate is not None
    daemon = Daemon(tmp_path, prefix=(activate, f"--listen={path}"))
    before = path.stat()
    with daemon.connect() as host:
        assert host.info.caller.uid == os.getuid()
    assert daemon.stop() == 0
    after = path.stat()
    assert (before.st_ino, before.st_mode, before.st_ctime_ns) == (
        after.st_ino,
        after.st_mode,
        after.st_ctime_ns,
    )


def test_tls_without_a_place_does_not_start(remote: Remote, tmp_path: Path) -> None:
    ca = remote.authority.directory
    config = tmp_path / "ptraced.toml"
    config.write_text(
        f'[server]\nsocket = "{tmp_path}/s"\nstate_dir = "{tmp_path}/state"\n'
        f'[tls]\ncertificate = "{ca}/server.crt"\nkey = "{ca}/server.key"\n'
        f'client_ca = "{ca}/ca.crt"\n'
    )
    command = [sys.executable, "-m", "ptraced.cli", "--config", str(config)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.endswith('error: tls.listen is missing: say where, such as "0.0.0.0:7879"\n')
    assert not (tmp_path / "s").exists()
