"""What `run` makes of names of scripts, of a script without -e, and of a command behind --."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from fakeserver import FakeDaemon
from ptrace_client.commands import run as run_command
from ptrace_client.errors import ClientError
from ptrace_proto import ptrace_pb2 as pb

PTRACE_CLIENT = Path(sys.executable).with_name("ptrace-client")
SCHEMA = pb.EventSchema(
    id=1,
    system="sched",
    name="sched_wakeup",
    common_type=7,
    row_size=4,
    fields=[pb.Field(name="_pid", kind=pb.FIELD_KIND_SIGNED, offset=0, size=4)],
)
SCRIPT = """\
# description: what is woken
import sys
from ptrace_client.syscall_names import syscall_name
print(sys.argv[1:], syscall_name(0), flush=True)
def sched__sched_wakeup(event): pass
def irq__nothing(event): pass
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of scripts, with `wakes` and `wakestop` in it; the current one is another."""
    folder = tmp_path / "scripts"
    folder.mkdir()
    for name in "wakes", "wakestop":
        (folder / f"{name}.py").write_text(SCRIPT)
    monkeypatch.setenv("PTRACED_SCRIPTS", str(folder))
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    return folder


@pytest.fixture
def daemon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeDaemon]:
    """A daemon whose sessions end when they are stopped."""

    def script(fake: FakeDaemon, request: pb.TraceRequest) -> Iterator[pb.TraceResponse]:
        yield pb.TraceResponse(started=pb.Started(session_id="s1", schemas=[SCHEMA]))
        fake.stop_called.wait()
        totals = [pb.EventTotals(schema_id=1)]
        yield pb.TraceResponse(end=pb.End(reason=pb.END_REASON_STOPPED, totals=totals))

    path = tmp_path / "d.sock"
    monkeypatch.setenv("PTRACED_SOCKET", str(path))
    with FakeDaemon(path) as fake:
        fake.info.machine = "aarch64"
        fake.schemas = [SCHEMA]
        fake.script = script
        yield fake


def client(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run ptrace-client in a process of its own."""
    return subprocess.run([PTRACE_CLIENT, *arguments], capture_output=True, text=True)


def values_of(line: str) -> dict[str, object]:
    """The values of run's options for a command line."""
    with run_command.declare().make_context("run", line.split()) as context:
        return context.params


class TestCommandLine:
    @pytest.mark.parametrize(
        ("line", "script", "command"),
        [
            ("wakes", "wakes", ""),
            ("wakes.py", "wakes", ""),
            ("wakes a b", "wakes a b", ""),
            ("wakes a -- ls -l", "wakes a", "ls -l"),
            ("wakes -N 3 -- ls -N 4", "wakes", "ls -N 4"),
            ("wakes a -- -N x -- ls -- y", "wakes a -N x", "ls -- y"),
            ("-i 100 wakes -- ls", "wakes", "ls"),
            ("-i perf.data wakes -- -x y", "wakes -x y", ""),
            ("--input perf.data wakes a -- b -- c", "wakes a b -- c", ""),
        ],
    )
    def test_names(self, folder: Path, line: str, script: str, command: str) -> None:
        values = values_of(line)
        name, *words = script.split()
        assert values["script"] == (str(folder / f"{name}.py"), *words)
        assert values["command"] == tuple(command.split())

    @pytest.mark.parametrize(
        ("line", "script"),
        [
            ("./wakes.py -- ls", "./wakes.py ls"),
            ("-- wakes.py -- ls", "wakes.py -- ls"),
            ("os -- ls", "os ls"),
            ("help", "help"),
        ],
    )
    def test_what_is_no_name(self, folder: Path, line: str, script: str) -> None:
        Path("wakes.py").touch()
        values = values_of(line)
        assert values["script"] == tuple(script.split())
        assert values["command"] == ()

    @pytest.mark.parametrize(
        ("line", "text"),
        [
            ("waks", r"no script waks \(did you mean wakes\?\)"),
            ("wakes --", "there is no command behind the --"),
            ("wakestop -- ls", "wakestop shows all tasks until it is interrupted: it takes no"),
        ],
    )
    def test_mistakes(self, folder: Path, line: str, text: str) -> None:
        with pytest.raises(ClientError, match=text):
            values_of(line)

    @pytest.mark.parametrize("line", ["needy x", "needy x -- ls", "-i perf.data needy x"])
    def test_arguments_that_a_script_needs(self, folder: Path, line: str) -> None:
        (folder / "needy.py").write_text("# args: <comm> <event> [interval]\n")
        with pytest.raises(ClientError, match=r"^needy needs arguments: <comm> <event>"):
            values_of(line)
        assert values_of(line.replace("needy", "needy y"))["script"]

    def test_no_script(self, folder: Path) -> None:
        with pytest.raises(click.MissingParameter):
            values_of("--")


class TestEvents:
    def test_they_are_those_of_the_handlers_that_the_host_has(
        self, daemon: FakeDaemon, folder: Path
    ) -> None:
        done = client("run", "wakes", "--", "true")
        assert done.returncode == 0, done.stderr
        assert list(daemon.seen["Trace"][0].selectors) == ["sched:sched_wakeup"]
        assert done.stderr.splitlines()[:2] == [
            "ptrace-client: events of the handlers of wakes.py: sched:sched_wakeup",
            "ptrace-client: left out, as this host does not have them: irq:nothing",
        ]

    def test_quietly(self, daemon: FakeDaemon, folder: Path) -> None:
        assert "events of" not in client("run", "-q", "wakes", "--", "true").stderr

    def test_not_with_some_of_the_users(self, daemon: FakeDaemon, folder: Path) -> None:
        done = client("run", "-e", "sched:sched_wak*", "wakes", "--", "true")
        assert list(daemon.seen["Trace"][0].selectors) == ["sched:sched_wak*"]
        assert "events of" not in done.stderr
        assert "ListEvents" not in daemon.seen

    def test_those_of_a_record_file(self, daemon: FakeDaemon, folder: Path) -> None:
        (folder / "bin").mkdir()
        file = folder / "bin/wakes-record"
        file.write_text("perf record -g -e sched:sched_wakeup $@\n")
        daemon.info.features.append("stacks")
        done = client("run", "wakes", "--", "true")
        assert f"events of {file} with -g: sched:sched_wakeup\n" in done.stderr
        assert daemon.seen["Trace"][0].stacks == pb.Stacks(kernel=True, user=True)

    @pytest.mark.parametrize(
        ("script", "text"),
        [
            ("nothing", "error: no script nothing: there is no such file, and "),
            ("./nothing.py", "error: no script ./nothing.py: there is no such file, and "),
            ("json", "error: no events for json: say with -e what to trace\n"),
        ],
    )
    def test_no_such_file(self, daemon: FakeDaemon, folder: Path, script: str, text: str) -> None:
        done = client("run", script)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.startswith(text)

    def test_system_calls_are_those_of_the_daemons_host(
        self, daemon: FakeDaemon, folder: Path
    ) -> None:
        assert "['a'] io_setup" in client("run", "-q", "wakes", "a", "--", "true").stdout


class TestCommand:
    def test_it_is_what_is_traced_and_ends_the_run(
        self, daemon: FakeDaemon, folder: Path, tmp_path: Path
    ) -> None:
        made = tmp_path / "made"
        done = client("run", "-q", "wakes", "--", "sh", "-c", f"echo $$ >{made}")
        assert done.returncode == 0, done.stderr
        scope = daemon.seen["Trace"][0].scope
        assert scope == pb.Scope(pids=[int(made.read_text())])
        assert len(daemon.seen["StopSession"]) == 1

    def test_it_does_not_run_where_the_daemon_refuses(
        self, daemon: FakeDaemon, folder: Path, tmp_path: Path
    ) -> None:
        made = tmp_path / "made"
        daemon.names = []
        done = client("run", "wakes", "--", "touch", str(made))
        assert done.returncode == 2
        assert "this host has none of the events" in done.stderr
        assert not made.exists()

    @pytest.mark.parametrize("words", ["run wakes --", "record -e a:b --", "record wakes --"])
    def test_it_does_not_run_where_the_daemon_is_elsewhere(
        self, daemon: FakeDaemon, folder: Path, tmp_path: Path, words: str
    ) -> None:
        made = tmp_path / "made"
        daemon.info.boot_id = "another"
        daemon.info.hostname = "box\x1b"
        done = client(*words.split(), "touch", str(made))
        assert done.returncode == 2
        assert "would run on this machine, and box\\x1b is another one" in done.stderr
        assert not made.exists()

    @pytest.mark.parametrize(
        ("words", "text"),
        [
            ("-p 1 wakes -- true", "a command behind -- is traced alone: leave out -p and -t"),
            ("-t 1 wakes -- true", "a command behind -- is traced alone: leave out -p and -t"),
            (
                "wakes -- no-such-one",
                "cannot run no-such-one: there is no such command",
            ),
        ],
    )
    def test_mistakes(self, daemon: FakeDaemon, folder: Path, words: str, text: str) -> None:
        done = client("run", *words.split())
        assert (done.returncode, done.stderr) == (2, f"error: {text}\n")
        assert "Trace" not in daemon.seen
