"""Which words of a command line are run's own, and what its options become in the request."""

from __future__ import annotations

import ast
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from struct import pack

import grpc
import pytest
from event_samples import make_sample_schema

from fakeserver import FakeDaemon, RefusalError
from ptrace_client.arguments import split_arguments
from ptrace_client.cli import execute
from ptrace_client.commands import run as run_command
from ptrace_client.errors import ClientError
from ptrace_client.request import project, trace_request
from ptrace_proto import ptrace_pb2 as pb

PTRACE_CLIENT = Path(sys.executable).with_name("ptrace-client")
SCHEMA = pb.EventSchema(
    id=1,
    system="sched",
    name="sched_wakeup",
    common_type=7,
    row_size=38,
    fields=[
        pb.Field(name="_time", kind=pb.FIELD_KIND_UNSIGNED, offset=0, size=8),
        pb.Field(name="_pid", kind=pb.FIELD_KIND_SIGNED, offset=8, size=4),
        pb.Field(name="_tid", kind=pb.FIELD_KIND_SIGNED, offset=12, size=4),
        pb.Field(name="_comm", kind=pb.FIELD_KIND_CHAR_ARRAY, offset=16, size=16),
        pb.Field(name="common_flags", kind=pb.FIELD_KIND_UNSIGNED, offset=32, size=1),
        pb.Field(name="common_preempt_count", kind=pb.FIELD_KIND_UNSIGNED, offset=33, size=1),
        pb.Field(name="pid", kind=pb.FIELD_KIND_SIGNED, offset=34, size=4),
    ],
    all_fields=[pb.FieldInfo(name="pid", type="pid_t", kind=pb.FIELD_KIND_SIGNED, size=4)],
    print_format=pb.PrintFormat(format="pid=%d", arguments=[pb.Expression(field="pid")]),
)
ROW = pack("<Qii16sBBi", 1_500_000_000, 41, 42, b"swapper\0", 0, 0, 0)


def split(line: str) -> tuple[list[str], list[str]]:
    return split_arguments(line.split(), run_command.declare().params)


class TestSplit:
    @pytest.mark.parametrize(
        ("line", "own", "script"),
        [
            ("-e X s.py", "-e X", "s.py"),
            ("-eX -i100 s.py", "-eX -i100", "s.py"),
            ("--event=X s.py a b", "--event=X", "s.py a b"),
            ("-e X ./s.py -N 2 --threshold 50 pos", "-e X -N 2", "./s.py --threshold 50 pos"),
            ("-e X s.py -vq", "-e X -vq", "s.py"),
            ("-e X s.py -qx", "-e X", "s.py -qx"),
            ("-e X s.py -xq", "-e X", "s.py -xq"),
            ("-e X s.py -vN3", "-e X -vN3", "s.py"),
            ("-e X s.py -vN 3", "-e X -vN 3", "s.py"),
            ("-e X s.py - -1", "-e X", "s.py - -1"),
            ("-e X -- s.py -N 2", "-e X", "s.py -N 2"),
            ("-e X s.py -- -N 2", "-e X", "s.py -N 2"),
            ("-e X -- s.py -- -N", "-e X", "s.py -- -N"),
            ("-e X --bogus s.py", "-e X --bogus", "s.py"),
            ("-e", "-e", ""),
            ("", "", ""),
        ],
    )
    def test_words(self, line: str, own: str, script: str) -> None:
        assert split(line) == (own.split(), script.split())

    def test_a_value_may_look_like_an_option(self) -> None:
        assert split("-e -x -o -- s.py") == (["-e", "-x", "-o", "--"], ["s.py"])


class TestDashesOfPerfScripts:
    """perf eats one `--`, and that only right behind the script."""

    @pytest.mark.parametrize(
        ("words", "script"),
        [
            ("a -- b", ("a", "--", "b")),
            ("-- a -- b", ("a", "--", "b")),
            ("-- -- a", ("--", "a")),
            ("a -q -- -q", ("a", "--", "-q")),
            ("--", ()),
        ],
    )
    def test_further_ones_are_the_scripts(
        self, tmp_path: Path, words: str, script: tuple[str, ...]
    ) -> None:
        path = tmp_path / "script.py"
        path.write_text("def trace_end(): pass\n")
        command = ["-i", "x.data", str(path), *words.split()]
        with run_command.declare().make_context("run", command) as context:
            assert context.params["script"] == (str(path), *script)

    def test_perf_profs_scripts_get_none(self, tmp_path: Path) -> None:
        path = tmp_path / "script.py"
        path.write_text("def __sample__(event): pass\n")
        with run_command.declare().make_context("run", [str(path), "a", "--", "b"]) as context:
            assert context.params["script"] == (str(path), "a", "b")


class TestRequest:
    def test_everything_arrives(self) -> None:
        request = trace_request(
            ["a:b", "c:d"],
            cpus="0-3",
            pids=[1],
            tids=[2, 3],
            cgroups=["web"],
            buffer_pages=64,
            watermark=25,
            mark_interval=5,
            label="x.py",
        )
        assert request == pb.TraceRequest(
            selectors=["a:b", "c:d"],
            scope=pb.Scope(cpus="0-3", pids=[1], tids=[2, 3], cgroups=["web"]),
            buffer_pages=64,
            watermark_percent=25,
            mark_interval=5,
            print_formats=True,
            label="x.py",
        )

    def test_watermark_0_is_per_event(self) -> None:
        assert trace_request(["a:b"], watermark=0).wake_every_event
        assert not trace_request(["a:b"]).wake_every_event

    @pytest.mark.parametrize("watermark", [-1, 101])
    def test_watermark_out_of_range(self, watermark: int) -> None:
        with pytest.raises(ClientError) as caught:
            trace_request(["a:b"], watermark=watermark)
        assert str(caught.value) == (f"watermark {watermark} is not a percentage from 0 to 100")

    @pytest.mark.parametrize(
        ("pages", "text"),
        [
            (3, "a buffer of 3 pages is not a power of two: 2 and 4 are"),
            (100, "a buffer of 100 pages is not a power of two: 64 and 128 are"),
            (-8, "a buffer of -8 pages is not a power of two"),
        ],
    )
    def test_buffer_not_a_power_of_two(self, pages: int, text: str) -> None:
        with pytest.raises(ClientError) as caught:
            trace_request(["a:b"], buffer_pages=pages)
        assert str(caught.value) == text

    def test_label_is_cut_at_a_character(self) -> None:
        assert trace_request(["a:b"], label="ä" * 200).label == "ä" * 128
        assert trace_request(["a:b"], label="a" + "ä" * 200).label == "a" + "ä" * 127

    def test_projection_to_columns(self) -> None:
        other = pb.EventSchema(system="irq", name="x", fields=[pb.Field(name="_time")])
        assert project([SCHEMA, other], ["pid", "_realtime", "_cpu"]) == [
            pb.Projection(event="sched:sched_wakeup", fields=["_time", "pid"]),
            pb.Projection(event="irq:x", fields=["_time"]),
        ]

    def test_projection_to_members_of_samples(self) -> None:
        sampled = make_sample_schema(on_request=[("regs_user", pb.FIELD_KIND_REGS, 8)])
        assert project([SCHEMA, sampled], ["pid", "regs_user", "callchain"]) == [
            pb.Projection(event="sched:sched_wakeup", fields=["pid"]),
            pb.Projection(event="profile", fields=["_pid", "callchain", "regs_user"]),
        ]

    def test_projection_to_an_unknown_field(self) -> None:
        with pytest.raises(ClientError, match=r"^none of the events has a field 'pidd'$"):
            project([SCHEMA], ["pid", "pidd"])


@pytest.fixture
def daemon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeDaemon]:
    """A daemon with one event that is traced, and that the environment names."""

    def script(fake: FakeDaemon, request: pb.TraceRequest) -> Iterator[pb.TraceResponse]:
        yield pb.TraceResponse(started=pb.Started(session_id="s1", schemas=[SCHEMA]))
        yield pb.TraceResponse(
            batches=[pb.Batch(schema_id=1, cpu=0, count=5, rows=ROW * 5)],
            mark=pb.RoundMark(time=1),
        )
        fake.stop_called.wait()
        totals = [pb.EventTotals(schema_id=1, delivered=5)]
        yield pb.TraceResponse(end=pb.End(reason=pb.END_REASON_STOPPED, totals=totals))

    path = tmp_path / "d.sock"
    monkeypatch.setenv("PTRACED_SOCKET", str(path))
    monkeypatch.setenv("TZ", "UTC")
    with FakeDaemon(path) as fake:
        fake.schemas = [SCHEMA]
        fake.script = script
        yield fake


def client(*arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run ptrace-client in a process of its own: a script changes sys.argv and more."""
    return subprocess.run([PTRACE_CLIENT, *arguments], cwd=cwd, capture_output=True, text=True)


COUNT = """\
import sys
print(sys.argv)
def sched__sched_wakeup(event):
    print(event.pid, flush=True)
"""


class TestRun:
    def test_options_arrive_in_the_request(self, daemon: FakeDaemon, tmp_path: Path) -> None:
        (tmp_path / "s.py").write_text(COUNT)
        options = "-e sched:sched_wakeup -e irq:* -C 0-1 -p 1,2 -t 3 --cgroups web,db -m 64"
        more = "--watermark 0 -i 500 --monotonic -q s.py -N 2"
        result = client("run", *options.split(), *more.split(), cwd=tmp_path)
        assert (result.returncode, result.stderr) == (0, "")
        assert daemon.seen["Trace"] == [
            pb.TraceRequest(
                selectors=["sched:sched_wakeup", "irq:*"],
                projections=[pb.Projection(event="sched:sched_wakeup", fields=["pid"])],
                scope=pb.Scope(cpus="0-1", pids=[1, 2], tids=[3], cgroups=["web", "db"]),
                buffer_pages=64,
                wake_every_event=True,
                mark_interval=500_000_000,
                print_formats=True,
                label="s.py",
            )
        ]
        assert list(daemon.seen["DescribeEvents"][0].selectors) == ["sched:sched_wakeup", "irq:*"]

    def test_options_behind_the_script(self, daemon: FakeDaemon, tmp_path: Path) -> None:
        (tmp_path / "s.py").write_text(COUNT)
        line = "run -e sched:sched_wakeup -q ./s.py -N 2 --threshold 50 pos"
        result = client(*line.split(), cwd=tmp_path)
        assert (result.returncode, result.stdout, result.stderr) == (
            0,
            "['./s.py', '--threshold', '50', 'pos']\n0\n0\n",
            "",
        )

    @pytest.mark.parametrize(
        ("end", "arguments"),
        [
            ("", "['SCRIPT', '--threshold', '50']"),
            (" --", "['SCRIPT', '-N', '1', '--threshold', '50']"),
        ],
    )
    def test_shebang(self, daemon: FakeDaemon, tmp_path: Path, end: str, arguments: str) -> None:
        script = tmp_path / "s.py"
        options = "run -e sched:sched_wakeup -i 1000 -q --duration 0.001"
        script.write_text(f"#!/usr/bin/env -S ptrace-client {options}{end}\n{COUNT}")
        script.chmod(0o755)
        path = f"{PTRACE_CLIENT.parent}{os.pathsep}{os.environ['PATH']}"
        result = subprocess.run(
            [script, "-N", "1", "--threshold", "50"],
            env={**os.environ, "PATH": path},
            capture_output=True,
            text=True,
        )
        assert (result.returncode, result.stderr) == (0, "")
        events = 1 if not end else 5
        assert result.stdout == arguments.replace("SCRIPT", str(script)) + "\n" + "0\n" * events

    def test_help_prints_a_template(self, daemon: FakeDaemon, tmp_path: Path) -> None:
        result = client("run", "-e", "sched:sched_wakeup", "help", cwd=tmp_path)
        same = client("template", "-e", "sched:sched_wakeup", cwd=tmp_path)
        assert (result.returncode, result.stderr) == (0, "")
        assert result.stdout == same.stdout
        assert "def sched__sched_wakeup(event):" in result.stdout
        ast.parse(result.stdout)

    def test_nothing_is_attached_for_a_script_that_is_missing(
        self, daemon: FakeDaemon, tmp_path: Path
    ) -> None:
        result = client("run", "-e", "sched:sched_wakeup", "nosuch.py", cwd=tmp_path)
        assert (result.returncode, result.stdout) == (2, "")
        assert result.stderr.startswith("error: ")
        assert "Traceback" not in result.stderr
        assert "Trace" not in daemon.seen

    def test_the_daemons_refusal(self, daemon: FakeDaemon, tmp_path: Path) -> None:
        daemon.refusal = RefusalError(grpc.StatusCode.NOT_FOUND, "no process 999999")
        result = client("run", "-e", "sched:sched_wakeup", "s.py", cwd=tmp_path)
        assert (result.returncode, result.stdout, result.stderr) == (
            2,
            "",
            "error: no process 999999\n",
        )

    def test_the_daemon_goes_away(self, daemon: FakeDaemon, tmp_path: Path) -> None:
        (tmp_path / "s.py").write_text(COUNT)
        process = subprocess.Popen(
            [PTRACE_CLIENT, "run", "-e", "sched:sched_wakeup", "-q", "s.py"],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        with process:
            assert process.stdout is not None
            assert process.stderr is not None
            assert process.stdout.readline() == "['s.py']\n"
            assert process.stdout.readline() == "0\n"
            daemon.die()
            assert process.stderr.read() == (
                f"error: the daemon at unix:{tmp_path}/d.sock went away in the middle of the "
                "trace: events after this moment are missing; see `systemctl status ptraced`, "
                "then run again\n"
            )
        assert process.returncode == 4

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_signals_end_it_with_0(
        self, daemon: FakeDaemon, tmp_path: Path, number: signal.Signals
    ) -> None:
        (tmp_path / "s.py").write_text(COUNT)
        process = subprocess.Popen(
            [PTRACE_CLIENT, "run", "-e", "sched:sched_wakeup", "-q", "s.py"],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        with process:
            assert process.stdout is not None
            assert process.stderr is not None
            assert [process.stdout.readline() for _ in range(3)] == ["['s.py']\n", "0\n", "0\n"]
            process.send_signal(number)
            assert process.stderr.read() == ""
        assert process.returncode == 0
        assert [request.session_id for request in daemon.seen["StopSession"]] == ["s1"]


class TestOutput:
    def test_both_outputs_are_appended(self, daemon: FakeDaemon, tmp_path: Path) -> None:
        (tmp_path / "s.py").write_text(COUNT + "import os\nos.write(2, b'to stderr\\n')\n")
        (tmp_path / "log").write_text("old\n")
        line = "run -e sched:sched_wakeup -o log -q -N 1 s.py"
        result = client(*line.split(), cwd=tmp_path)
        assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
        assert sorted((tmp_path / "log").read_text().splitlines()) == [
            "0",
            "['s.py']",
            "old",
            "to stderr",
        ]

    def test_sigusr1_opens_it_anew(self, daemon: FakeDaemon, tmp_path: Path) -> None:
        script = """\
import os, signal, sys
def __init__():
    print("before", flush=True)
    os.rename("log", "log.1")
    os.kill(os.getpid(), signal.SIGUSR1)
    print("after", flush=True)
def __sample__(event):
    pass
"""
        (tmp_path / "s.py").write_text(script)
        line = "run -e sched:sched_wakeup -o log -q -N 1 s.py"
        assert client(*line.split(), cwd=tmp_path).returncode == 0
        assert (tmp_path / "log.1").read_text() == "before\n"
        assert (tmp_path / "log").read_text() == "after\n"

    def test_a_file_that_cannot_be_written(self, daemon: FakeDaemon, tmp_path: Path) -> None:
        result = client("trace", "-e", "sched:sched_wakeup", "-o", "no/log", cwd=tmp_path)
        assert (result.returncode, result.stderr) == (
            2,
            "error: cannot write to no/log: No such file or directory\n",
        )
        assert "Trace" not in daemon.seen


class TestTrace:
    def test_prints_events(self, daemon: FakeDaemon, tmp_path: Path) -> None:
        result = client("trace", "-e", "sched:sched_wakeup", "-N", "2", cwd=tmp_path)
        line = (
            "1970-01-01 00:00:01.500000          swapper     42 .... [000] 1.500000: "
            "sched:sched_wakeup: pid=0\n"
        )
        assert (result.returncode, result.stdout, result.stderr) == (0, line * 2, "")
        assert daemon.seen["Trace"][0].label == "trace"

    def test_tells_losses_on_stderr(self, daemon: FakeDaemon, tmp_path: Path) -> None:
        def script(fake: FakeDaemon, request: pb.TraceRequest) -> Iterator[pb.TraceResponse]:
            yield pb.TraceResponse(started=pb.Started(session_id="s1", schemas=[SCHEMA]))
            loss = pb.Loss(schema_id=1, cpu=0, count=7, stage=pb.LOSS_STAGE_KERNEL_BUFFER)
            yield pb.TraceResponse(losses=[loss])
            yield pb.TraceResponse(end=pb.End(reason=pb.END_REASON_TARGETS_GONE))

        daemon.script = script
        result = client("trace", "-e", "sched:sched_wakeup", cwd=tmp_path)
        assert (result.returncode, result.stdout, result.stderr) == (
            0,
            "",
            "ptrace-client: lost 7 events (7 in all)\n",
        )


class TestRefused:
    @pytest.mark.parametrize(
        ("options", "reason"),
        [
            *(
                (
                    option,
                    "is not here: every event carries CLOCK_MONOTONIC, and _realtime the wall "
                    "clock",
                )
                for option in ("--tsc", "--kvmclock x", "--clock-offset 5")
            ),
            *(
                (
                    option,
                    "is not here: it measures perf-prof itself; see `ptrace-client status` "
                    "and sessions",
                )
                for option in (
                    "--sampling-limit 5",
                    "--perfeval-cpus 0",
                    "--perfeval-pids 1",
                    "--usage-self 100",
                )
            ),
        ],
    )
    @pytest.mark.parametrize("command", ["run", "trace"])
    def test_says_why(
        self, command: str, options: str, reason: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        line = f"{command} -e a:b {options} s.py"
        assert execute(line.split()) == 2
        assert capsys.readouterr().err == f"error: {options.split()[0]} {reason}\n"

    @pytest.mark.parametrize(
        ("options", "text"),
        [
            ("-m 100", "error: a buffer of 100 pages is not a power of two: 64 and 128 are"),
            (
                "-p 1,x",
                "error: Invalid value for '-p' / '--pids': 'x' is not a process or thread id; "
                "see `ptrace-client run -h`",
            ),
            (
                "-t 0",
                "error: Invalid value for '-t' / '--tids': '0' is not a process or thread id; "
                "see `ptrace-client run -h`",
            ),
            (
                "--watermark 101",
                "error: Invalid value for '--watermark': 101 is not in the range 0<=x<=100; "
                "see `ptrace-client run -h`",
            ),
            (
                "-N 0",
                "error: Invalid value for '-N' / '--exit-N': 0 is not in the range x>=1; "
                "see `ptrace-client run -h`",
            ),
            (
                "--interval 0",
                "error: Invalid value for '--interval': 0 is not in the range x>=1; "
                "see `ptrace-client run -h`",
            ),
            (
                "-i 0",
                "error: -i takes a file, or the period of __interval__ in ms, 1 and more",
            ),
            (
                "-i x.data --input y.data",
                "error: -i with a file is --input: give one of them",
            ),
            ("--zz", "error: No such option '--zz'; see `ptrace-client run -h`"),
        ],
    )
    def test_bad_values(self, options: str, text: str, capsys: pytest.CaptureFixture[str]) -> None:
        assert execute(f"run -e a:b {options} s.py".split()) == 2
        assert capsys.readouterr().err == text + "\n"

    def test_a_script_is_needed(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert execute(["run", "-e", "a:b"]) == 2
        assert capsys.readouterr().err == (
            "error: Missing argument 'MODULE [ARGS]...'; see `ptrace-client run -h`\n"
        )
