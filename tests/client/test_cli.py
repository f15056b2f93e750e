"""The commands: what they print, and how they end."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import grpc
import pytest
from event_samples import make_end, make_schema, make_started

from fakeserver import FakeDaemon, RefusalError
from ptrace_client import endpoint
from ptrace_client.cli import COMMANDS, execute
from ptrace_client.commands import doctor, sessions
from ptrace_proto import ptrace_pb2 as pb

START_HINT = (
    "start the daemon with `systemctl start ptraced`, or run as root: `ptrace-client run` then "
    "starts one for itself"
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "d.sock"


@pytest.fixture
def daemon(path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeDaemon]:
    monkeypatch.setenv("PTRACED_SOCKET", str(path))
    with FakeDaemon(path) as fake:
        yield fake


def client(*arguments: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    """Return (exit status, stdout, stderr) of a command line."""
    status = execute(arguments)
    output = capsys.readouterr()
    return status, output.out, output.err


class TestUsage:
    def test_version(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert client("--version", capsys=capsys) == (0, "ptrace-client 0.1.0\n", "")

    def test_help_names_every_command(self, capsys: pytest.CaptureFixture[str]) -> None:
        status, out, err = client("-h", capsys=capsys)
        assert (status, err) == (0, "")
        for name, help_text in COMMANDS.items():
            assert f"  {name:<8}  {help_text}\n" in out

    @pytest.mark.parametrize("command", COMMANDS)
    def test_every_command_has_help(self, command: str, capsys: pytest.CaptureFixture[str]) -> None:
        status, out, err = client(command, "-h", capsys=capsys)
        assert (status, err) == (0, "")
        assert out.startswith(f"Usage: ptrace-client {command} [OPTIONS]")

    def test_nothing_is_help_and_an_error(self, capsys: pytest.CaptureFixture[str]) -> None:
        status, out, err = client(capsys=capsys)
        assert (status, out) == (2, "")
        assert err.startswith("Usage: ptrace-client [OPTIONS] COMMAND")

    @pytest.mark.parametrize(
        ("arguments", "text"),
        [
            (["lst"], "error: No such command 'lst'; see `ptrace-client -h`\n"),
            (
                ["status", "--zz"],
                "error: No such option '--zz'; see `ptrace-client status -h`\n",
            ),
            (
                ["template"],
                "error: Missing option '-e' / '--event'; see `ptrace-client template -h`\n",
            ),
            (
                ["sessions", "end", "s1"],
                "error: expected `stop ID`, not 'end s1'; see `ptrace-client sessions -h`\n",
            ),
        ],
    )
    def test_errors_are_one_line(
        self, arguments: list[str], text: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert client(*arguments, capsys=capsys) == (2, "", text)


class TestErrors:
    def test_no_daemon(self, path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        text = f"error: no daemon: there is no socket {path}; {START_HINT}\n"
        for command in ("list", "status", "sessions"):
            assert client(command, "--socket", str(path), capsys=capsys) == (2, "", text)

    def test_the_daemons_text_is_safe_for_a_terminal(
        self, daemon: FakeDaemon, capsys: pytest.CaptureFixture[str]
    ) -> None:
        text = "error: bad filter\n  sched:x/\x1b]0;owned\x07/\n          ^"
        daemon.refusal = RefusalError(grpc.StatusCode.INVALID_ARGUMENT, text)
        assert client("template", "-e", "sched:x", capsys=capsys) == (
            2,
            "",
            "error: bad filter\n  sched:x/\\x1b]0;owned\\x07/\n          ^\n",
        )

    def test_a_scripts_own_end_is_not_cut_short(
        self, tmp_path: Path, daemon: FakeDaemon, path: Path
    ) -> None:
        # GIVEN a script that does something at the very end
        daemon.schemas = [make_schema("sched:x")]
        started = pb.TraceResponse(started=make_started(*daemon.schemas))
        daemon.script = lambda daemon, request: iter([started, make_end()])
        script = tmp_path / "script.py"
        script.write_text(
            "import atexit, gc\n"
            "class Last:\n"
            "    def __del__(self): print('deleted')\n"
            "last = Last()\n"
            "def __sample__(event): pass\n"
            "atexit.register(lambda: print('at exit, frozen:', gc.get_freeze_count() > 0))\n"
        )
        # WHEN its run is over
        code = "from ptrace_client.cli import main; main()"
        arguments = ["run", "--socket", str(path), "-q", "-e", "sched:x"]
        process = subprocess.run(
            [sys.executable, "-c", code, *arguments, str(script)], capture_output=True, text=True
        )
        # THEN the collector passes over what is not the script's, and no more
        assert (process.stdout, process.stderr) == ("at exit, frozen: True\ndeleted\n", "")
        assert process.returncode == 0

    def test_a_closed_pipe_ends_quietly(self, daemon: FakeDaemon, path: Path) -> None:
        daemon.names = [f"sched:event_{number:06d}" for number in range(100_000)]
        process = subprocess.Popen(
            [Path(sys.executable).with_name("ptrace-client"), "list", "--socket", str(path)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        with process:
            assert process.stdout is not None
            assert process.stderr is not None
            assert process.stdout.readline() == b"sched:event_000000\n"
            process.stdout.close()
            assert process.stderr.read() == b""
        assert process.returncode == 0


class TestList:
    def test_names(self, daemon: FakeDaemon, capsys: pytest.CaptureFixture[str]) -> None:
        out = "sched:sched_switch\nsched:sched_wakeup\n"
        assert client("list", "sched:*", capsys=capsys) == (0, out, "")
        assert list(daemon.seen["ListEvents"][0].globs) == ["sched:*"]

    def test_long(self, daemon: FakeDaemon, capsys: pytest.CaptureFixture[str]) -> None:
        daemon.schemas = [
            pb.EventSchema(
                system="sched",
                name="sched_switch",
                common_type=314,
                all_fields=[
                    pb.FieldInfo(name="prev_comm", type="char[16]"),
                    pb.FieldInfo(name="prev_pid", type="pid_t"),
                ],
            ),
            pb.EventSchema(system="irq", name="x", common_type=7),
        ]
        out = "sched:sched_switch  314  char[16] prev_comm, pid_t prev_pid\nirq:x               7\n"
        assert client("list", "-l", capsys=capsys) == (0, out, "")

    def test_sampled_events_have_no_system(
        self, daemon: FakeDaemon, capsys: pytest.CaptureFixture[str]
    ) -> None:
        daemon.names = ["irq:x", "page-faults"]
        daemon.schemas = [pb.EventSchema(system="irq", name="x", common_type=7)]
        assert client("list", capsys=capsys) == (0, "irq:x\npage-faults\n", "")
        out = "irq:x        7\npage-faults  -  sampled\n"
        assert client("list", "-l", capsys=capsys) == (0, out, "")
        assert list(daemon.seen["DescribeEvents"][0].selectors) == ["irq:x"]

    def test_no_match(self, daemon: FakeDaemon, capsys: pytest.CaptureFixture[str]) -> None:
        daemon.names = []
        text = "error: no event matches nosuch*\n"
        assert client("list", "nosuch*", capsys=capsys) == (2, "", text)


class TestStatus:
    def test_lines(
        self, daemon: FakeDaemon, path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        out = f"""\
client    ptrace-client 0.1.0
daemon    ptraced 0.1.0 at unix:{path}, contract v1.0
host      box, kernel 6.1.0, x86_64
cpus      0-1
you       nobody (uid 65534, gid 65534)
features  cgroups, projection, tasks, tracepoint
limits    100 sessions, 4096 events in each, 64 MiB queued, 4096 pages per buffer, \
filters of 64 KiB
"""
        assert client("status", capsys=capsys) == (0, out, "")

    def test_a_caller_that_is_not_known(self, capsys: pytest.CaptureFixture[str]) -> None:
        with FakeDaemon() as daemon:
            daemon.info.caller.Clear()
            status, out, _ = client("status", "--host", f"127.0.0.1:{daemon.port}", capsys=capsys)
        assert status == 0
        assert "you       not known: this transport does not tell\n" in out


class TestSessions:
    def test_table(
        self,
        daemon: FakeDaemon,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        monkeypatch.setattr(sessions, "time", SimpleNamespace(time=lambda: 1_700_003_605.5))
        daemon.sessions = [
            pb.SessionInfo(
                session_id="s1",
                caller=pb.Caller(known=True, uid=1000, pid=4711, user="ann", via="local"),
                label="lat\x1bency.py\ns9",
                selectors=["sched:sched_switch", "irq:*"],
                start_realtime=1_700_000_000_000_000_000,
                totals=[
                    pb.EventTotals(delivered=40, lost=1),
                    pb.EventTotals(delivered=2, lost=2),
                ],
                queued_bytes=1536,
            ),
            pb.SessionInfo(
                session_id="s22",
                caller=pb.Caller(
                    known=True, uid=9, via="tls", address="192.0.2.7:50312", certificate="bob"
                ),
                selectors=["x" * 300],
                start_realtime=1_700_003_605_000_000_000,
            ),
        ]
        assert client("sessions", capsys=capsys) == (
            0,
            "ID   USER  PID   VIA                      AGE    DELIVERED  LOST  QUEUED   LABEL"
            "               EVENTS\n"
            "s1   ann   4711  local                    1h 5s  42         3     1.5 KiB  "
            "lat\\x1bency.py\\ns9  sched:sched_switch irq:*\n"
            "s22  9     0     tls 192.0.2.7:50312 bob  0s     0          0     0 B"
            f"                          {'x' * 200}...\n",
            "",
        )

    def test_kill(self, daemon: FakeDaemon, capsys: pytest.CaptureFixture[str]) -> None:
        assert client("kill", "s1", "s2", capsys=capsys) == (0, "", "")
        assert [request.session_id for request in daemon.seen["KillSession"]] == ["s1", "s2"]

    def test_stop(self, daemon: FakeDaemon, capsys: pytest.CaptureFixture[str]) -> None:
        assert client("sessions", "stop", "s1", capsys=capsys) == (0, "", "")
        assert daemon.seen["StopSession"] == [pb.StopSessionRequest(session_id="s1")]

    def test_stop_of_an_unknown_session(
        self, daemon: FakeDaemon, capsys: pytest.CaptureFixture[str]
    ) -> None:
        daemon.refusal = RefusalError(grpc.StatusCode.NOT_FOUND, "no session s9")
        assert client("sessions", "stop", "s9", capsys=capsys) == (2, "", "error: no session s9\n")


class TestDoctor:
    @pytest.fixture(autouse=True)
    def checker(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """A ptraced whose --check prints its arguments and succeeds."""
        path = tmp_path / "ptraced"
        path.write_text('#!/bin/sh\necho "checked $*"\n')
        path.chmod(0o755)
        monkeypatch.setattr(doctor, "_find_daemon", lambda: str(path))
        return path

    def test_all_is_well(
        self, daemon: FakeDaemon, path: Path, capfd: pytest.CaptureFixture[str]
    ) -> None:
        assert execute(["doctor"]) == 0
        rows = [line.split(maxsplit=1) for line in capfd.readouterr().out.splitlines()]
        names = ["what", "client", "python", "grpcio", "protobuf", "numpy"]
        names += ["daemon", "host", "cpus", "you", "features", "limits"]
        assert [row[0] for row in rows[:12]] == names
        assert rows[1][1].rstrip() == "ptrace-client 0.1.0"
        assert rows[6][1].rstrip() == f"ptraced 0.1.0 at unix:{path}, contract v1.0"
        assert rows[12:] == [[], ["ptraced", "--check:"], ["checked", "--check"]]

    def test_no_daemon(self, path: Path, capfd: pytest.CaptureFixture[str]) -> None:
        assert execute(["doctor", "--socket", str(path)]) == 1
        out = capfd.readouterr().out
        assert f"daemon    no daemon: there is no socket {path}; {START_HINT}" in out
        assert "checked --check\n" in out

    def test_a_failed_check(
        self, daemon: FakeDaemon, checker: Path, capfd: pytest.CaptureFixture[str]
    ) -> None:
        checker.write_text("#!/bin/sh\nexit 1\n")
        assert execute(["doctor"]) == 1

    def test_without_an_installed_daemon(
        self,
        daemon: FakeDaemon,
        monkeypatch: pytest.MonkeyPatch,
        capfd: pytest.CaptureFixture[str],
    ) -> None:
        monkeypatch.setattr(doctor, "_find_daemon", lambda: None)
        assert execute(["doctor"]) == 0
        assert "--check" not in capfd.readouterr().out

    def test_root_needs_no_daemon(
        self,
        path: Path,
        monkeypatch: pytest.MonkeyPatch,
        capfd: pytest.CaptureFixture[str],
    ) -> None:
        monkeypatch.delenv("PTRACED_SOCKET", raising=False)
        monkeypatch.setattr(endpoint, "DEFAULT_SOCKET", str(path))
        monkeypatch.setattr(doctor, "may_trace", lambda: True)
        assert execute(["doctor"]) == 0
        out = capfd.readouterr().out
        assert "daemon    none runs; `run` and `trace` start one for themselves" in out
