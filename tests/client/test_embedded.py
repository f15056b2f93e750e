"""A daemon for the life of a run: when it is started, and how it ends."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from pathlib import Path

import pytest

from fakeserver import FakeDaemon
from ptrace_client import embedded, endpoint
from ptrace_client.embedded import EmbeddedDaemon, may_trace, open_host
from ptrace_client.errors import ClientError
from ptrace_proto import ptrace_pb2 as pb

# Stands in for ptraced: the fake daemon at --socket until SIGTERM or the end of its stdin.
SERVE = """
import os, signal, sys
from pathlib import Path
from fakeserver import FakeDaemon
from ptrace_proto import ptrace_pb2 as pb
reading, writing = os.pipe()
signal.signal(signal.SIGTERM, lambda *_: os.write(writing, b"x"))
with FakeDaemon(Path(sys.argv[sys.argv.index("--socket") + 1])):
    Path(os.environ["PID_FILE"]).write_text(str(os.getpid()))
    print("ready", flush=True)
    os.read(reading, 1)
"""
FAIL = "import sys; print('no kernel headers', file=sys.stderr); sys.exit(1)"


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let no place be named, and no daemon run at the default one."""
    monkeypatch.delenv("PTRACED_SOCKET", raising=False)
    monkeypatch.delenv("PTRACED_HOST", raising=False)
    path = tmp_path / "default.sock"
    monkeypatch.setattr(endpoint, "DEFAULT_SOCKET", str(path))
    monkeypatch.setenv("PID_FILE", str(tmp_path / "pid"))
    monkeypatch.setenv("PYTHONPATH", os.fspath(Path(__file__).parent.parent))
    return path


def install(monkeypatch: pytest.MonkeyPatch, program: str) -> None:
    """Start `program` in place of ptraced."""
    monkeypatch.setattr(embedded, "_COMMAND", (sys.executable, "-c", program, "--embedded"))


def test_starts_and_ends_with_the_block(
    nowhere: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(monkeypatch, SERVE)
    with open_host(None, None) as host:
        assert host.info.hostname == "box"
        folder = host.endpoint.socket.parent
        assert folder.stat().st_mode & 0o777 == 0o700
        pid = int((tmp_path / "pid").read_text())
        # A group of its own: Ctrl-C at the terminal does not reach it.
        assert os.getpgid(pid) == pid
    assert not folder.exists()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_temporary_folder_with_a_long_path_holds_no_sockets(
    nowhere: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(monkeypatch, SERVE)
    folder = tmp_path / ("long" * 20)
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    with open_host(None, None) as host:
        assert host.endpoint.socket.parent.parent == Path("/tmp")


def test_a_killed_daemon_is_noticed(
    nowhere: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(monkeypatch, SERVE)
    with open_host(None, None) as host, host.open(pb.TraceRequest()) as stream:
        os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)
        with pytest.raises(ClientError) as caught:
            stream.next(None)
    assert str(caught.value) == (
        f"the daemon at {host.endpoint} went away in the middle of the trace: events after this "
        "moment are missing; see `systemctl status ptraced`, then run again"
    )


def test_a_daemon_that_runs_is_preferred(nowhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, FAIL)
    with FakeDaemon(nowhere), open_host(None, None) as host:
        assert host.endpoint.socket == nowhere


def test_a_place_that_is_named_is_not_replaced(
    nowhere: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(monkeypatch, SERVE)
    named = tmp_path / "other.sock"
    with pytest.raises(ClientError, match=f"^no daemon: there is no socket {named};"):
        open_host(None, str(named)).__enter__()


def test_not_without_privilege(nowhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, SERVE)
    monkeypatch.setattr(embedded, "may_trace", lambda: False)
    with pytest.raises(ClientError, match=f"^no daemon: there is no socket {nowhere};"):
        open_host(None, None).__enter__()


def test_a_failed_start_shows_the_log(nowhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, FAIL)
    with pytest.raises(ClientError) as caught:
        EmbeddedDaemon()
    assert str(caught.value) == (
        "the daemon that this run started for itself did not start; `ptraced --check` tells what "
        "this host can do. Its log:\nno kernel headers"
    )
    assert caught.value.status == 2


def test_the_log_is_shown_when_asked_for(
    nowhere: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    install(monkeypatch, FAIL)
    with pytest.raises(ClientError):
        EmbeddedDaemon(show_log=True)
    assert capfd.readouterr().err == "no kernel headers\n"


@pytest.mark.parametrize(
    ("held", "enough"),
    [
        ("0000000000000000", False),
        ("0000004000000000", False),
        ("0000008000000000", False),
        ("000000c000000000", True),
        ("000001ffffffffff", True),
    ],
)
def test_bpf_and_perfmon_are_needed(
    held: str, enough: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "read_text", lambda path: f"Name:\tx\nCapEff:\t{held}\n")
    assert may_trace() is enough
