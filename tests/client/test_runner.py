"""The life of a run: callbacks in their order, intervals, signals, exit status."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from event_samples import (
    FakeStream,
    Item,
    make_batch,
    make_end,
    make_loss,
    make_mark,
    make_schema,
    make_started,
)

from conftest import LoadSource
from ptrace_client import runner
from ptrace_client.errors import ClientError
from ptrace_client.runner import RunOptions, run_script
from ptrace_client.script import Script
from ptrace_proto import ptrace_pb2 as pb

WAKEUP = make_schema()
CALLBACKS = """
def __init__(): print("init")
def __exit__(): print("exit")
def __interval__(): print("interval")
def __print_stat__(indent): print("stat", indent)
def __sample__(event): print("event", event.pid)
"""
MS = 1_000_000


def message(*pids: int, mark: int | None = None, **fields: Any) -> pb.TraceResponse:
    batch = make_batch(WAKEUP, *({"_time": pid, "pid": pid} for pid in pids))
    response = pb.TraceResponse(batches=[batch] if pids else [], **fields)
    if mark is not None:
        response.mark.time = mark
    return response


def run(script: Script, items: Iterable[Item], **options: Any) -> int:
    return run_on(script, FakeStream(make_started(WAKEUP), items), **options)


def run_on(script: Script, stream: FakeStream, **options: Any) -> int:
    return run_script(script, lambda: stream, RunOptions(**{"quiet": True, **options}))


class Clock:
    """Stands in for the local CLOCK_MONOTONIC, ns."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1_000_000 * MS
        monkeypatch.setattr(runner.time, "monotonic_ns", lambda: self.now)

    def pass_ms(self, ms: int) -> Item:
        def advance() -> None:
            self.now += ms * MS

        return advance


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def test_callbacks_come_in_order(
    load_source: LoadSource, capsys: pytest.CaptureFixture[str]
) -> None:
    script = load_source(CALLBACKS)
    stream = FakeStream(make_started(WAKEUP), [message(1, 2), message(3)])

    def open_stream() -> FakeStream:
        print("open")
        return stream

    assert run_script(script, open_stream, RunOptions()) == 0
    output = capsys.readouterr()
    assert output.out.splitlines() == [
        *(f"Loaded module: {script.path}", "init", "open"),
        *("event 1", "event 2", "event 3", "exit"),
    ]
    assert output.err == ""
    assert stream.cancelled
    assert stream.timeouts == [None] * 4


def test_an_exception_in_init_is_the_end(
    load_source: LoadSource, capsys: pytest.CaptureFixture[str]
) -> None:
    script = load_source("def __init__(): {}['x']\n" + CALLBACKS.replace("__init__", "other"))

    def open_stream() -> FakeStream:
        raise AssertionError("the stream was opened")

    assert run_script(script, open_stream, RunOptions(quiet=True)) == 1
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err == (
        "Traceback (most recent call last):\n"
        f'  File "{script.path}", line 1, in __init__\n'
        "    def __init__(): {}['x']\n"
        "                    ~~^^^^^\n"
        "KeyError: 'x'\n"
        "1 exception in handlers\n"
    )


def test_exceptions_are_shown_counted_and_do_not_end_the_run(
    load_source: LoadSource, capsys: pytest.CaptureFixture[str]
) -> None:
    script = load_source(
        "def __sample__(event):\n    raise ValueError(event.pid)\ndef __exit__():\n    {}.nosuch\n"
    )
    assert run(script, [message(*range(10))]) == 1
    shown = "".join(
        "Traceback (most recent call last):\n"
        f'  File "{script.path}", line 2, in __sample__\n'
        "    raise ValueError(event.pid)\n"
        f"ValueError: {number}\n"
        for number in range(3)
    )
    assert capsys.readouterr().err == (
        f"{shown}further ValueError from {script.path}:2 are only counted\n"
        "Traceback (most recent call last):\n"
        f'  File "{script.path}", line 4, in __exit__\n'
        "    {}.nosuch\n"
        "AttributeError: 'dict' object has no attribute 'nosuch'\n"
        "11 exceptions in handlers\n"
    )


def test_a_traceback_has_no_frames_but_the_scripts(
    load_source: LoadSource, capsys: pytest.CaptureFixture[str]
) -> None:
    # GIVEN a handler that fails inside PerfEvent, while it handles another exception
    script = load_source(
        "def __sample__(event):\n"
        "    try:\n"
        "        event['nosuch']\n"
        "    except KeyError:\n"
        "        event.get(1)\n"
    )
    assert run(script, [message(1)]) == 1
    assert capsys.readouterr().err == (
        "Traceback (most recent call last):\n"
        f'  File "{script.path}", line 3, in __sample__\n'
        "    event['nosuch']\n"
        "    ~~~~~^^^^^^^^^^\n"
        "ptrace_client.event.MissingFieldError: 'PerfEvent' object has no attribute 'nosuch'\n"
        "\n"
        "During handling of the above exception, another exception occurred:\n"
        "\n"
        "Traceback (most recent call last):\n"
        f'  File "{script.path}", line 5, in __sample__\n'
        "    event.get(1)\n"
        "TypeError: field name must be a string\n"
        "1 exception in handlers\n"
    )


def test_strict_ends_at_once(load_source: LoadSource, capsys: pytest.CaptureFixture[str]) -> None:
    script = load_source(CALLBACKS + "def __sample__(event): event.nosuch\n")
    stream = FakeStream(make_started(WAKEUP), [message(1, 2)])
    assert run_on(script, stream, strict=True) == 1
    output = capsys.readouterr()
    assert output.out == "init\n"
    assert output.err.count("AttributeError") == 1
    assert output.err.endswith("\n1 exception in handlers\n")
    assert stream.cancelled


@pytest.mark.parametrize(
    ("code", "status", "text"),
    [("", 0, ""), ("7", 7, ""), ("'no more'", 1, "no more\n"), ("None", 0, "")],
)
@pytest.mark.parametrize("callback", ["__sample__(event)", "__init__()", "__interval__()"])
def test_sys_exit_ends_with_its_status_and_without_exit(
    callback: str,
    code: str,
    status: int,
    text: str,
    load_source: LoadSource,
    clock: Clock,
    capsys: pytest.CaptureFixture[str],
) -> None:
    script = load_source(
        "import sys\n"
        "def __sample__(event): pass\n"
        f"def {callback}: sys.exit({code})\n"
        "def __exit__(): print('exit')\n"
    )
    items = [clock.pass_ms(100), message(1, mark=clock.now + 100 * MS)]
    assert run(script, items, interval_ms=100) == status
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err == text


def test_n_ends_the_run_after_exactly_n_events(
    load_source: LoadSource, capsys: pytest.CaptureFixture[str]
) -> None:
    stream = FakeStream(make_started(WAKEUP), [message(1, 2), message(3, 4), message(5)])
    assert run_on(load_source(CALLBACKS), stream, exit_n=3) == 0
    assert capsys.readouterr().out == "init\nevent 1\nevent 2\nevent 3\nexit\n"
    assert stream.cancelled
    assert len(stream.items) == 1


def test_a_tick_fires_after_the_data_that_a_mark_closes(
    load_source: LoadSource, clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    start = clock.now
    items = [
        message(1, mark=start + 99 * MS),
        message(2, mark=start + 100 * MS),
        message(3),
        make_mark(start + 450 * MS),
        message(4, mark=start + 499 * MS),
    ]
    assert run(load_source(CALLBACKS), items, interval_ms=100) == 0
    assert capsys.readouterr().out.split("\n")[1:-2] == [
        *("event 1", "event 2", "interval", "event 3", "interval", "event 4"),
    ]


def test_ticks_fire_when_nothing_arrives(
    load_source: LoadSource, clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    # GIVEN a server whose clock is an hour ahead
    stream = FakeStream(
        make_started(WAKEUP),
        [clock.pass_ms(149), None, clock.pass_ms(1), None, None, clock.pass_ms(800), None],
    )
    stream.clock_offset = 3600 * 1000 * MS
    assert run_on(load_source(CALLBACKS), stream, interval_ms=100) == 0
    assert capsys.readouterr().out == "init\ninterval\ninterval\nexit\n"
    assert stream.timeouts[:3] == [0.15, 0.05, 0.1]


def test_ordered_events_come_before_the_tick(
    load_source: LoadSource, clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    items = [message(3, 4), message(1, 2), make_mark(clock.now + 100 * MS)]
    assert run(load_source(CALLBACKS), items, interval_ms=100, order=True) == 0
    assert capsys.readouterr().out == ("init\nevent 1\nevent 2\nevent 3\nevent 4\ninterval\nexit\n")


def test_duration_stops_and_drains(
    load_source: LoadSource, clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    items = [message(1), clock.pass_ms(2500), None, message(2)]
    stream = FakeStream(make_started(WAKEUP), items)
    assert run_on(load_source(CALLBACKS), stream, duration=2.5) == 0
    assert stream.stopped == 1
    assert stream.timeouts[:2] == [2.5, 2.5]
    assert stream.timeouts[-1] is None
    assert capsys.readouterr().out == "init\nevent 1\nevent 2\nexit\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_stops_and_drains(
    number: signal.Signals, load_source: LoadSource, capsys: pytest.CaptureFixture[str]
) -> None:
    # GIVEN a handler during which the signal comes
    before = signal.getsignal(number)
    script = load_source(
        "import os\n" + CALLBACKS + "def __sample__(event):\n"
        f"    if event.pid == 2: os.kill({os.getpid()}, {int(number)})\n"
        "    print('event', event.pid, stream.stopped)\n"
    )
    stream = FakeStream(make_started(WAKEUP), [message(1, 2, 3), message(4)])
    namespace: Any = script.bind([WAKEUP], False)[0].handler
    namespace.__globals__["stream"] = stream
    # WHEN it runs
    status = run_on(script, stream)
    # THEN the server is told at once, and what it still sends is handled
    assert status == 0
    assert capsys.readouterr().out == ("init\nevent 1 0\nevent 2 1\nevent 3 1\nevent 4 1\nexit\n")
    assert stream.stopped == 1
    assert signal.getsignal(number) == before


def test_the_second_signal_ends_at_once(
    load_source: LoadSource, capsys: pytest.CaptureFixture[str]
) -> None:
    script = load_source(
        "import os, signal\n" + CALLBACKS + "def __sample__(event):\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    print('once')\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    print('never')\n"
    )
    stream = FakeStream(make_started(WAKEUP), [message(1, 2)])
    assert run_on(script, stream) == 128 + signal.SIGTERM
    assert capsys.readouterr().out == "init\nonce\n"
    assert stream.cancelled


@pytest.mark.parametrize("callback", ["__init__", "__exit__"])
def test_a_signal_outside_the_stream_ends_at_once(
    callback: str, load_source: LoadSource, capsys: pytest.CaptureFixture[str]
) -> None:
    script = load_source(
        "import os, signal\n"
        "def __sample__(event): pass\n"
        f"def {callback}():\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    print('never')\n"
    )
    assert run(script, []) == 130
    assert capsys.readouterr().out == ""


def test_sigusr2_shows_the_state_with_the_scripts_own_inside(
    load_source: LoadSource, capsys: pytest.CaptureFixture[str]
) -> None:
    def ask() -> None:
        os.kill(os.getpid(), signal.SIGUSR2)

    script = load_source(CALLBACKS)
    stream = FakeStream(
        make_started(WAKEUP), [message(1, 2), message(losses=[make_loss(3)]), ask, None, message(4)]
    )
    assert run_on(script, stream) == 0
    output = capsys.readouterr()
    assert output.out == "init\nevent 1\nevent 2\nstat 4\nevent 4\nexit\n"
    assert output.err == (
        "ptrace-client: session s-1\n"
        "  delivered 2; lost 3 (kernel buffer full: 3); 0 exceptions in handlers\n"
        f"  script {script.path}:\n"
    )
    assert stream.woken == 1


def test_verbose_ends_with_a_summary(
    load_source: LoadSource, capsys: pytest.CaptureFixture[str]
) -> None:
    losses = [make_loss(2), make_loss(5, stage=pb.LOSS_STAGE_SKIPPED, cpu=-1)]
    items = [message(5, mark=6), message(3, losses=losses, mark=9)]
    script = load_source("def __sample__(event): pass\n")
    assert run(script, items, order=True, verbose=1) == 0
    assert capsys.readouterr().err == (
        "ptrace-client: delivered 2; lost 2 (kernel buffer full: 2, "
        "skipped by the kernel, at most: 5); 1 came too late for order; 0 exceptions in handlers\n"
    )


def test_losses_and_warnings_are_told(
    load_source: LoadSource, capsys: pytest.CaptureFixture[str]
) -> None:
    script = load_source("def __sample__(event): pass\ndef sched__sched_switch(event): pass\n")
    items = [
        message(1, losses=[make_loss(2)], warnings=[pb.Warning(text="CPU 1 went offline")]),
        message(2, losses=[make_loss(3)]),
    ]
    assert run(script, items, quiet=False) == 0
    assert capsys.readouterr().err == (
        "warning: handler sched__sched_switch is not called: its event is not selected "
        "(-e sched:sched_wakeup)\n"
        "warning: CPU 1 went offline\n"
        "ptrace-client: lost 2 events (2 in all)\n"
        "ptrace-client: lost 3 events (5 in all)\n"
    )


def test_a_connection_that_breaks_still_leaves_in_order(
    load_source: LoadSource, capsys: pytest.CaptureFixture[str]
) -> None:
    lost = ClientError("connection lost", 1)
    with pytest.raises(ClientError, match=r"^connection lost$"):
        run(load_source(CALLBACKS), [message(2, 1), lost], order=True)
    assert capsys.readouterr().out == "init\nevent 1\nevent 2\nexit\n"


@pytest.mark.parametrize(
    ("reason", "status", "text"),
    [
        (pb.END_REASON_STOPPED, 0, ""),
        (pb.END_REASON_TARGETS_GONE, 0, ""),
        (pb.END_REASON_SHUTDOWN, 1, "warning: the server ended the session: going down\n"),
        (pb.END_REASON_FAILED, 1, "warning: the server ended the session: going down\n"),
        (pb.END_REASON_KILLED, 3, "warning: the session was killed: going down\n"),
        (
            *(pb.END_REASON_OVER_BUDGET, 3),
            "warning: the session cost more than its budget: going down\n",
        ),
        (
            *(pb.END_REASON_NOT_ALLOWED, 3),
            "warning: the policy does not allow the session any more: going down\n",
        ),
    ],
)
def test_how_the_server_ended_shows_in_the_status(
    reason: pb.EndReason,
    status: int,
    text: str,
    load_source: LoadSource,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(load_source(CALLBACKS), [message(1), make_end(reason, "going down")]) == status
    output = capsys.readouterr()
    assert output.out == "init\nevent 1\nexit\n"
    assert output.err == text


def test_the_collector_is_left_as_it_was(load_source: LoadSource) -> None:
    before = gc.get_threshold(), gc.get_freeze_count()
    assert run(load_source(CALLBACKS), [message(1)]) == 0
    assert (gc.get_threshold(), gc.get_freeze_count()) == before


PROGRAM = """
import sys
sys.path.insert(0, {tests!r})
from event_samples import FakeStream, make_batch, make_schema, make_started
from ptrace_client.runner import RunOptions, load_script, run_script
from ptrace_proto import ptrace_pb2 as pb
schema = make_schema()
batch = make_batch(schema, *({{"pid": pid}} for pid in range(100_000)))
script = load_script({script!r}, [])
stream = FakeStream(make_started(schema), [pb.TraceResponse(batches=[batch])])
sys.exit(run_script(script, lambda: stream, RunOptions()))
"""


def spawn(tmp_path: Path, source: str) -> subprocess.Popen[str]:
    """Start a process that runs `source` on a stream of 100,000 events."""
    script = tmp_path / "script.py"
    script.write_text(source)
    program = PROGRAM.format(tests=str(Path(__file__).parent), script=str(script))
    return subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        errors="surrogateescape",
    )


def test_a_closed_stdout_ends_the_run_quietly(tmp_path: Path) -> None:
    # GIVEN a script that prints for ever, and a reader that reads one line, as head -1
    process = spawn(
        tmp_path,
        "import sys\n"
        "def __sample__(event): print(event.pid)\n"
        "def __exit__(): print('exit', file=sys.stderr)\n",
    )
    assert process.stdout is not None
    assert process.stderr is not None
    with process:
        assert process.stdout.readline().startswith("Loaded module: ")
        # WHEN the reader goes away
        process.stdout.close()
        # THEN nothing is said
        assert process.stderr.read() == ""
    assert process.returncode == 141


def test_a_broken_pipe_of_the_scripts_own_is_an_exception_like_any(tmp_path: Path) -> None:
    process = spawn(tmp_path, "def __sample__(event): raise BrokenPipeError\n")
    _, errors = process.communicate()
    assert process.returncode == 1
    assert errors.endswith("\n100000 exceptions in handlers\n")


def test_stdout_is_line_buffered_and_names_need_not_be_text(tmp_path: Path) -> None:
    # GIVEN a script that waits after its first line
    process = spawn(
        tmp_path,
        "import sys\n"
        "def __init__():\n"
        "    print('caf\\udce9')\n"
        "    sys.stdin.readline()\n"
        "def __sample__(event): sys.exit(5)\n",
    )
    assert process.stdout is not None
    with process:
        # THEN the line arrives while it waits, with the byte that it had
        assert process.stdout.readline().startswith("Loaded module: ")
        assert process.stdout.readline() == "caf\udce9\n"
        process.communicate("\n")
    assert process.returncode == 5


def test_signals_reach_a_handler_that_sleeps(tmp_path: Path) -> None:
    # GIVEN a handler that sleeps longer than anyone would wait
    process = spawn(
        tmp_path,
        "import time\ndef __sample__(event):\n    print('asleep')\n    time.sleep(1000)\n",
    )
    assert process.stdout is not None
    with process:
        assert process.stdout.readline().startswith("Loaded module: ")
        assert process.stdout.readline() == "asleep\n"
        # WHEN two signals come
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGTERM)
        # THEN the run is over
        assert process.wait() == 128 + signal.SIGTERM
