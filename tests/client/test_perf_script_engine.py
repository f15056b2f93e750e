"""Scripts of perf's dialect on recordings made up for it: no kernel and no perf are needed."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from perf_files import (
    EVENT_DESC,
    FORMAT,
    TRACING_DATA,
    USUAL,
    MadeRecording,
    two_events,
    wakeup_raw,
    written,
)

from ptrace_client.errors import ClientError
from ptrace_client.perf_data.attr import EventKind, ReadFormat, SampleType
from ptrace_client.perf_data.model import RecordKind
from ptrace_client.perf_data.recording import open_recording
from ptrace_client.perf_script.engine import run_recording
from ptrace_client.perf_script.options import DialectOptions
from ptrace_client.perf_script.script import PerfScript, load_perf_script
from ptrace_client.perf_symbols.machine import open_machine
from ptrace_client.script_errors import EndRun

WAKEUP = "sched__sched_wakeup"


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    """Run a script's functions, given as a dictionary or as text, on a made recording."""
    monkeypatch.setitem(sys.modules, "perf_trace_context", sys.modules[__name__])

    def run(
        made: MadeRecording | bytes,
        functions: dict[str, Any],
        options: DialectOptions = DialectOptions(),  # noqa: B008
        selectors: tuple[str, ...] = (),
        limit: int | None = None,
    ) -> dict[str, Any]:
        content = made if isinstance(made, bytes) else made.file()
        recording = open_recording(written(tmp_path, content))
        script = PerfScript("script.py", functions)
        try:
            run_recording(script, recording, open_machine(recording), options, selectors, limit)
        finally:
            recording.close()
        return functions

    return run


Run = Callable[..., dict[str, Any]]


class Calls(list[Any]):
    """A function that notes its arguments."""

    def __call__(self, *args: Any) -> None:
        self.append(args)


@pytest.mark.parametrize("order", "<>")
def test_a_handler_gets_common_arguments_and_fields(run: Run, order: str) -> None:
    made = two_events(order)
    comm = made.pack("II8s", 7, 7, b"worker") + made.trailer(11, 1)
    made.record(RecordKind.COMM, comm)
    raw = wakeup_raw(made, 1 << 63, pid=8)
    made.sample(11, 3_000_000_005, tail=raw)
    made.sample(12, 2_000_000_001, tail=wakeup_raw(made, 5, pid=9))
    calls = Calls()
    script = run(made, {WAKEUP: calls})
    context = script["perf_script_context"]
    assert calls == [
        (WAKEUP, context, 0, 2, 1, 9, "worker", [], 5),
        (WAKEUP, context, 0, 3, 5, 8, "worker", [], 1 << 63),
    ]


def test_unhandled_events_have_their_fields_in_a_dictionary(run: Run) -> None:
    made = two_events()
    made.sample(11, 1_000_000_002, tail=wakeup_raw(made, 5))
    calls: list[Any] = []
    run(made, {"trace_unhandled": lambda name, context, fields: calls.append((name, fields))})
    assert calls == [
        (
            WAKEUP,
            {
                "common_cpu": 0,
                "common_s": 1,
                "common_ns": 2,
                "common_pid": 7,
                "common_comm": ":7",
                "common_callchain": [],
                "value": 5,
            },
        )
    ]


def test_the_callchain_of_the_dictionary_is_that_of_the_argument(run: Run) -> None:
    made = MadeRecording()
    kinds = USUAL | SampleType.CALLCHAIN | SampleType.RAW
    made.event(EventKind.TRACEPOINT, 300, ids=(11,), sample_type=kinds, name="sched:sched_wakeup")
    made.features[TRACING_DATA] = made.tracing(
        {"sched": [FORMAT.format(name="sched_wakeup", id=300)]}
    )
    chain = made.pack("4Q", 3, (1 << 64) - 512, 0x10, 0x20)
    made.sample(11, 1, tail=chain + wakeup_raw(made, 5))
    seen: list[Any] = []

    def handler(n, c, cpu, s, ns, pid, comm, chain, value, sample):  # type: ignore[no-untyped-def]
        seen.append((chain, sample["callchain"] is chain, value))

    run(made, {WAKEUP: handler})
    assert seen == [([{"ip": 0x10}, {"ip": 0x20}], True, 5)]


def test_what_a_handler_does_not_look_at_makes_no_difference(run: Run) -> None:
    made = two_events()
    made.sample(11, 1, tail=wakeup_raw(made, 5))
    seen: list[Any] = []

    def handler(n, c, cpu, s, ns, pid, comm, chain, value):  # type: ignore[no-untyped-def]
        seen.append(value)

    def all_of_it(n, c, cpu, s, ns, pid, comm, chain, value):  # type: ignore[no-untyped-def]
        seen.append(dict(locals()))

    def passes_on(n, c, cpu, s, ns, pid, comm, chain, value):  # type: ignore[no-untyped-def]
        seen.append((lambda: comm)())

    run(made, {WAKEUP: handler})
    run(made, {WAKEUP: all_of_it})
    run(made, {WAKEUP: passes_on})
    assert seen.pop() == ":7"
    assert seen[0] == 5
    assert seen[1]["comm"] == ":7"
    assert seen[1]["s"] == 0


def test_define_calls_come_before_the_first_event_of_a_kind(run: Run) -> None:
    made = two_events()
    text = FORMAT.format(name="sched_wakeup", id=300).replace(
        '"value=%llu", REC->value', '"%s", __print_flags(REC->value, "|", { 1, "ONE" })'
    )
    made.features[TRACING_DATA] = made.tracing({"sched": [text]})
    made.sample(11, 1, tail=wakeup_raw(made, 1))
    made.sample(12, 2, tail=wakeup_raw(made, 1))
    calls: list[Any] = []
    run(
        made,
        {
            WAKEUP: lambda *args: calls.append("event"),
            "define_flag_field": lambda *args: calls.append(args),
            "define_flag_value": lambda *args: calls.append(args),
        },
    )
    assert calls == [(WAKEUP, "value", "|"), (WAKEUP, "value", 1, "ONE"), "event", "event"]


def test_handlers_that_perf_refuses_are_told_of_once(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    made = two_events()
    made.sample(11, 1, tail=wakeup_raw(made, 5))
    made.sample(11, 2, tail=wakeup_raw(made, 6))
    seen: list[Any] = []

    def handler(n, c, cpu, s, ns, pid, comm, value):  # type: ignore[no-untyped-def]
        seen.append(value)
        script[WAKEUP] = other

    def other(n, c, cpu, s, ns, pid, comm, value):  # type: ignore[no-untyped-def]
        seen.append(-value)

    script: dict[str, Any] = {WAKEUP: handler}
    run(made, script)
    assert seen == [5, -6]
    assert capsys.readouterr().err == (
        "warning: sched__sched_wakeup has no common_callchain, and gets none: perf would abort "
        "(--strict does)\n"
    )


def test_strict_ends_with_perfs_status(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    made = two_events()
    made.sample(11, 1, tail=wakeup_raw(made, 5))
    ends = Calls()
    run(made, {WAKEUP: lambda event: None, "trace_end": ends}, DialectOptions(strict=True))
    assert ends == []
    error = capsys.readouterr().err
    assert error.startswith("TypeError: ")
    assert error.endswith("handler_call_die: problem in Python trace event handler\n")


def test_sane_values_have_their_sign(run: Run) -> None:
    made = two_events()
    text = FORMAT.format(name="sched_wakeup", id=300).replace(
        "u64 value;\toffset:8;\tsize:8;\tsigned:0", "int value;\toffset:8;\tsize:4;\tsigned:1"
    )
    made.features[TRACING_DATA] = made.tracing({"sched": [text]})
    made.sample(11, 1, tail=made.raw(made.pack("HBBii", 300, 0, 0, 7, -5)))
    calls = Calls()
    run(made, {WAKEUP: calls})
    run(made, {WAKEUP: calls}, DialectOptions(sane_values=True))
    assert [call[-1] for call in calls] == [(1 << 32) - 5, -5]


def test_records_of_the_kernel_have_callbacks(run: Run) -> None:
    made = two_events()
    made.record(RecordKind.SWITCH, made.trailer(21, 10), misc=1 << 13 | 1 << 14)
    wide = made.pack("II", 3, 4) + made.trailer(21, 11)
    made.record(RecordKind.SWITCH_CPU_WIDE, wide, misc=1 << 14)
    throttle = made.pack("QQQ", 12, 21, 5) + made.trailer(21, 12)
    made.record(RecordKind.THROTTLE, throttle)
    made.record(RecordKind.UNTHROTTLE, throttle)
    error = made.pack("2I3iIQQ", 1, 2, 3, 4, 5, 1, 6, 7) + b"overflow\0".ljust(64, b"\0")
    made.record(RecordKind.AUXTRACE_ERROR, error)
    names = ("context_switch", "throttle", "unthrottle", "auxtrace_error")
    script = run(made, {name: Calls() for name in names})
    assert script["context_switch"] == [
        (10, 0, 7, 7, -1, -1, -1, True, True, 0, -1),
        (11, 0, 7, 7, 3, 4, -1, False, False, 0, -1),
    ]
    assert script["throttle"] == script["unthrottle"] == [(12, 21, 5, 0, 7, 7)]
    assert script["auxtrace_error"] == [(1, 2, 3, 4, 5, 6, 7, "overflow", 0, 0, -1)]


def test_losses_are_told(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    made = two_events()
    made.record(RecordKind.LOST, made.pack("QQ", 21, 5) + made.trailer(21, 10))
    made.record(RecordKind.LOST, made.pack("QQ", 21, 4) + made.trailer(21, 30))
    # The same ones, counted at the end.
    made.record(RecordKind.LOST_SAMPLES, made.pack("Q", 9) + made.trailer(21, 31))
    script = run(made, {"__lost__": Calls()})
    assert script["__lost__"] == [(0, 10), (10, 30)]
    assert capsys.readouterr().err == (
        "warning: 9 events were lost when this was recorded: the kernel's buffers were full\n"
    )


def counters(made: MadeRecording, *values: tuple[int, int]) -> bytes:
    return made.pack("Q", len(values)) + b"".join(made.pack("QQ", n, id) for id, n in values)


def test_each_counter_of_a_group_is_a_sample_of_its_growth(run: Run) -> None:
    made = MadeRecording()
    group = {
        "sample_type": USUAL | SampleType.READ,
        "read_format": ReadFormat.ID | ReadFormat.GROUP,
    }
    made.event(EventKind.SOFTWARE, 0, ids=(21,), name="cpu-clock", **group)
    made.event(EventKind.SOFTWARE, 2, ids=(22,), name="page-faults", **group)
    made.features[EVENT_DESC] = made.describe()
    made.sample(21, 1, tail=counters(made, (21, 100), (22, 3)))
    made.sample(21, 2, tail=counters(made, (21, 150), (22, 3)))
    made.sample(21, 3, tail=counters(made, (21, 151), (99, 3), (22, 5)))
    seen: list[Any] = []

    def process_event(event: dict[str, Any]) -> None:
        seen.append((event["ev_name"], event["sample"]["period"], event["sample"]["time"]))

    run(made, {"process_event": process_event})
    assert seen == [
        ("cpu-clock", 100, 1),
        ("page-faults", 3, 1),
        ("cpu-clock", 50, 2),
        ("cpu-clock", 1, 3),
        ("page-faults", 2, 3),
    ]


def test_statistics_are_handed_over_by_round(run: Run) -> None:
    made = MadeRecording()
    made.event(EventKind.SOFTWARE, 0, ids=(21,), name="cpu-clock:u", sample_type=0, flags=0)
    made.features[EVENT_DESC] = made.describe()
    made.record(RecordKind.THREAD_MAP, made.pack("QQ16s", 1, 77, b"sleep"))
    made.record(RecordKind.CPU_MAP, made.pack("HHHH", 0, 2, 0, 1))
    made.record(RecordKind.STAT_CONFIG, made.pack("QQQQQ", 2, 0, 0, 2, 1))
    for time, counts in ((10, (100, 200)), (20, (150, 500))):
        for cpu, count in enumerate(counts):
            stat = made.pack("Qii3Q", 21, cpu, 0, count, 2 * count, count)
            made.record(RecordKind.STAT, stat)
        made.record(RecordKind.STAT_ROUND, made.pack("QQ", 0, time))
    names = ("stat__cpu-clock_u", "stat__interval")
    script = run(made, {name: Calls() for name in names})
    # Scaled, since they were taken half of the time.
    assert script["stat__cpu-clock_u"] == [
        (0, 77, 10, 200, 200, 100),
        (1, 77, 10, 400, 400, 200),
        (0, 77, 20, 100, 100, 50),
        (1, 77, 20, 600, 600, 300),
    ]
    assert script["stat__interval"] == [(10,), (20,)]


def test_counts_of_everything_by_everything_are_refused(run: Run) -> None:
    made = MadeRecording()
    made.event(EventKind.SOFTWARE, 0, ids=(21,), name="cpu-clock", sample_type=0, flags=0)
    made.features[EVENT_DESC] = made.describe()
    threads = b"".join(made.pack("Q16s", number, b"x") for number in range(2000))
    made.record(RecordKind.THREAD_MAP, made.pack("Q", 2000) + threads)
    made.record(RecordKind.CPU_MAP, made.pack("4H", 2, 0, 0, 60_000))
    made.record(RecordKind.STAT_ROUND, made.pack("QQ", 0, 1))
    with pytest.raises(ClientError, match="counts of 2000 threads on each of 6000"):
        run(made, {"stat__cpu-clock": Calls()})


def test_other_events_than_selected_are_left_out(run: Run) -> None:
    made = two_events()
    made.sample(11, 1, tail=wakeup_raw(made, 5))
    made.sample(21, 2)
    script = run(made, {WAKEUP: Calls(), "process_event": Calls()}, selectors=("cpu-clock",))
    assert script[WAKEUP] == []
    assert len(script["process_event"]) == 1


def test_a_limit_counts_what_handlers_take(run: Run) -> None:
    made = two_events()
    for time in range(1, 10):
        made.sample(21, 10 * time)
        made.sample(11, 10 * time + 1, tail=wakeup_raw(made, time))
    script = run(made, {WAKEUP: Calls(), "trace_end": Calls()}, limit=3)
    assert [call[-1] for call in script[WAKEUP]] == [1, 2, 3]
    assert len(script["trace_end"]) == 1


@pytest.mark.parametrize("as_pipe", [False, True])
def test_a_selected_event_has_to_be_there(run: Run, as_pipe: bool) -> None:
    made = two_events()
    made.sample(21, 2)
    content = made.pipe() if as_pipe else made.file()
    script: dict[str, Any] = {"process_event": Calls(), "trace_end": Calls()}
    with pytest.raises(ClientError, match=r"has no event cpu-clok: did you mean cpu-clock:u\?"):
        run(content, script, selectors=("cpu-clok",))


@pytest.mark.parametrize(
    ("functions", "takes"),
    [
        ({"trace_end": None}, "it has no handler for these"),
        ({"irq__softirq_entry": None}, "its handlers are irq__softirq_entry"),
    ],
)
def test_a_script_that_gets_nothing_is_told_of(
    run: Run, capsys: pytest.CaptureFixture[str], functions: dict[str, Any], takes: str
) -> None:
    run(two_events(), {name: Calls() for name in functions})
    error = capsys.readouterr().err
    assert error.startswith("warning: script.py gets no events: ")
    assert error.endswith(f"perf.data has sched:sched_wakeup, cpu-clock:u, {takes}\n")


@pytest.mark.parametrize(
    ("selector", "name"), [("sched", "process_event"), ("cpu-clock", "trace_unhandled")]
)
def test_tracepoints_and_other_events_have_functions_of_their_own(
    run: Run, capsys: pytest.CaptureFixture[str], selector: str, name: str
) -> None:
    run(two_events(), {name: Calls()}, selectors=(selector,))
    assert "gets no events" in capsys.readouterr().err


@pytest.mark.parametrize(
    "name", ["trace_unhandled", "process_event", WAKEUP, "context_switch", "stat__interval"]
)
def test_a_script_that_may_get_something_is_not(
    run: Run, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    run(two_events(), {name: Calls()})
    assert capsys.readouterr().err == ""


def test_damage_is_told_after_what_precedes_it(run: Run) -> None:
    made = two_events()
    made.sample(21, 1)
    made.records.append(made.pack("IHH", 9, 0, 4))
    script: dict[str, Any] = {"process_event": Calls(), "trace_end": Calls()}
    with pytest.raises(ClientError, match="a record of 4 bytes"):
        run(made, script)
    assert len(script["trace_end"]) == 1


def test_a_short_record_has_zeros_for_what_is_missing(run: Run) -> None:
    made = two_events()
    made.sample(11, 1, tail=made.pack("IHH", 4, 300, 0))
    calls = Calls()
    run(made, {WAKEUP: calls})
    assert [call[5:] for call in calls] == [(0, ":7", [], 0)]


def test_what_the_context_tells(run: Run) -> None:
    made = two_events()
    made.sample(11, 1, tail=made.raw(made.pack("HBBiQ", 300, 3, 2, 7, 0)))
    answers: list[Any] = []

    def handler(name, context, *rest):  # type: ignore[no-untyped-def]
        answers.extend([context.common_pc(), context.common_flags(), context.common_lock_depth()])
        answers.extend([context.srcline(), context.srccode(), context.insn()])
        answers.extend([context.set_itrace_options("i1ms"), context.set_itrace_options("i1ms")])

    run(made, {WAKEUP: handler})
    assert answers == [2, 3, 0, (None, 0), (None, 0, None), None, 0, 1]


def test_loading_prepares_what_scripts_expect(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("argv", "path"):
        monkeypatch.setattr(sys, name, list(getattr(sys, name)))
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])
    monkeypatch.setitem(sys.modules, "perf_trace_context", sys.modules[__name__])
    monkeypatch.setenv("PERF_EXEC_PATH", "/nowhere")
    path = tmp_path / "script.py"
    path.write_text(
        "import os, sys\n"
        "sys.path.append(os.environ['PERF_EXEC_PATH'] + "
        "'/scripts/python/Perf-Trace-Util/lib/Perf/Trace')\n"
        "from perf_trace_context import *\n"
        "from Core import flag_str\nfrom Util import nsecs\n"
        "state = (__name__, sys.argv[1:], sys.path[0], perf_script_context)\n"
    )
    script = load_perf_script(str(path), ["a", "--", "b"])
    assert script.namespace["state"] == ("__main__", ["a", "--", "b"], str(tmp_path), None)
    assert sys.modules["__main__"].__dict__ is script.namespace


def test_a_script_of_python_2_is_told_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", sys.argv)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])
    monkeypatch.setitem(sys.modules, "perf_trace_context", sys.modules[__name__])
    path = tmp_path / "old.py"
    path.write_text('def trace_begin():\n    print "begin"\n')
    with pytest.raises(EndRun) as end:
        load_perf_script(str(path), [])
    assert end.value.status == 255
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1] == f"Error running python script {path}"
    assert lines[-2].startswith("this script is written for Python 2")


def test_reading_needs_no_grpc_and_no_numpy(tmp_path: Path) -> None:
    """They take as long to import as all the rest."""
    made = two_events()
    made.sample(11, 1, tail=wakeup_raw(made, 5))
    path = tmp_path / "script.py"
    path.write_text(
        "import sys\ndef trace_end(): print({'grpc', 'numpy', 'elftools'} & set(sys.modules))\n"
        "def sched__sched_wakeup(n, c, cpu, s, ns, pid, comm, chain, value): pass\n"
    )
    client = Path(sys.executable).with_name("ptrace-client")
    command = [client, "run", "-i", written(tmp_path, made.file()), path]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("set()\n", "")


@pytest.mark.parametrize("name", ["a\0b", "a'\"\n\\", "{x}", "\udc80", "\u202e", "()"])
def test_an_event_of_any_name_is_handed_over(run: Run, name: str) -> None:
    made = MadeRecording()
    made.event(EventKind.TRACEPOINT, 5, ids=(11,), sample_type=USUAL | SampleType.RAW)
    made.features[TRACING_DATA] = made.tracing({"s": [FORMAT.format(name=name, id=5)]})
    made.sample(11, 3, tail=made.raw(made.pack("HBBiQ", 5, 0, 0, 7, 9)))
    calls = Calls()

    run(made, {"trace_unhandled": calls})

    # A name ends with its line.
    ((title, _, fields),) = [call[:3] for call in calls]
    assert (title, fields["value"]) == (f"s__{name.partition(chr(10))[0]}", 9)
