"""Scripts in perf's dialect on the batches of a stream."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

import pytest
from event_samples import (
    BYTES,
    CALLCHAIN,
    CHARS,
    DYNAMIC_STRING,
    SIGNED,
    UNSIGNED,
    make_batch,
    make_mark,
    make_sample_schema,
    make_schema,
    make_stack,
    make_started,
)

from ptrace_client.dispatch import Dispatcher
from ptrace_client.errors import ClientError
from ptrace_client.losses import Losses
from ptrace_client.perf_live import calls
from ptrace_client.perf_live.script import LiveScript
from ptrace_client.perf_script.options import DialectOptions
from ptrace_client.perf_script.script import load_perf_script
from ptrace_client.script_errors import EndRun
from ptrace_proto import ptrace_pb2 as pb

OWN = (("delta", SIGNED, 4), ("total", SIGNED, 8), ("mode", UNSIGNED, 1), ("name", CHARS, 8))
COLUMNS = (
    *(("_time", UNSIGNED, 8), ("_pid", SIGNED, 4), ("_tid", SIGNED, 4), ("_comm", CHARS, 16)),
)
EVENT = make_schema("test:event", own=OWN, common=COLUMNS)
OTHER = make_schema("test:other", own=(("x", UNSIGNED, 4),), common=COLUMNS, number=2)
HEAD = "event_name, context, cpu, secs, nsecs, pid, comm, chain, delta, total, mode, name"
FIRST = {
    "_time": 5_000_000_007,
    "_pid": 40,
    "_tid": 41,
    "_comm": b"task",
    "delta": -1,
    "total": -2,
    "mode": 200,
    "name": b"abc",
}
SEEN = ("test__event", 3, 5, 7, 41, "task", [], 4294967295, -2, 200, "abc")


class Run:
    """A script on the batches of a stream; `seen` is what it put into its list of that name."""

    def __init__(
        self,
        tmp_path: Path,
        text: str,
        *schemas: pb.EventSchema,
        all_fields: bool = False,
        options: DialectOptions | None = None,
    ) -> None:
        path = tmp_path / "script.py"
        path.write_text("seen = []\n" + textwrap.dedent(text))
        self.loaded = load_perf_script(str(path), [])
        self.script = LiveScript(self.loaded, options or DialectOptions())
        self.schemas = schemas
        self.dispatcher = Dispatcher(
            self.script.bind(schemas, all_fields),
            make_started(*schemas),
            self.script.errors(False),
            Losses(quiet=True),
            order=self.script.orders_always,
            lost=self.script.lost,
        )

    @property
    def seen(self) -> list[Any]:
        return list(self.loaded.namespace["seen"])

    @property
    def asked(self) -> list[str]:
        """The columns that the first event is asked for."""
        return list(self.script.projections(self.schemas, False)[0].fields)

    def send(self, *batches: pb.Batch, mark: int | None = None) -> None:
        self.dispatcher.message(pb.TraceResponse(batches=batches))
        if mark is None:
            self.dispatcher.finish()
        else:
            self.dispatcher.message(make_mark(mark))


@pytest.fixture(autouse=True)
def interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    """What loading a script changes is put back."""
    import sys

    monkeypatch.setattr(sys, "argv", [*sys.argv])
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])
    monkeypatch.setenv("PERF_EXEC_PATH", "")


def events(*times: int, cpu: int = 0, **values: Any) -> pb.Batch:
    return make_batch(EVENT, *({"_time": time, **values} for time in times), cpu=cpu)


# The same in each of the ways that a handler is called.
WAYS = {
    "fused": f"def test__event({HEAD}):\n    seen.append((event_name, cpu, secs, nsecs, pid, comm, "
    "chain, delta, total, mode, name))\n",
    "called": f"def test__event({HEAD}):\n    (lambda: seen.append((event_name, cpu, secs, nsecs, "
    "pid, comm, chain, delta, total, mode, name)))()\n",
    "with dict": f"def test__event({HEAD}, d):\n    seen.append((event_name, cpu, secs, nsecs, "
    "pid, comm, chain, delta, total, mode, name))\n",
    "callable": "class Handler:\n    def __call__(self, *given):\n        "
    "seen.append((given[0], *given[2:]))\ntest__event = Handler()\n",
    "frames": f"def test__event({HEAD}):\n    d = locals()\n    "
    f"seen.append(tuple(d[n] for n in '{HEAD}'.split(', ') if n != 'context'))\n",
    "by name": "def test__event(event_name, context, cpu, secs, nsecs, pid, comm, chain, name, "
    "delta, mode, total):\n    seen.append((event_name, cpu, secs, nsecs, pid, comm, chain, "
    "name, delta, mode, total))\n",
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("other", [False, True], ids=["alone", "with another event"])
@pytest.mark.parametrize("all_fields", [False, True])
def test_handlers_get_what_perf_passes(
    tmp_path: Path, way: str, other: bool, all_fields: bool
) -> None:
    schemas = [EVENT, OTHER] if other else [EVENT]
    text = WAYS[way] + "def test__other(*given):\n    pass\n"
    run = Run(tmp_path, text, *schemas, all_fields=all_fields)
    run.send(make_batch(EVENT, FIRST, cpu=3))
    # By name the order is that of perf all the same where the count is perf's.
    assert run.seen == [SEEN]


@pytest.mark.parametrize("way", WAYS)
def test_sane_values_have_their_sign(tmp_path: Path, way: str) -> None:
    run = Run(tmp_path, WAYS[way], EVENT, options=DialectOptions(sane_values=True))
    run.send(make_batch(EVENT, FIRST, cpu=3))
    assert run.seen[0][7] == -1


def test_plain_handlers_are_fused(tmp_path: Path) -> None:
    """Nothing is called for an event: not even the handler."""
    run = Run(tmp_path, f"def test__event({HEAD}):\n    seen.append(sys._no if 0 else pid)", EVENT)
    (target,) = run.dispatcher._events.values()
    assert target._loop.__code__.co_filename == run.script.path  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("body", "columns"),
    [
        ("pass", []),
        ("seen.append(1)", []),
        ("seen.append(cpu)", []),
        ("seen.append(pid)", ["_tid"]),
        ("seen.append(secs)", ["_time"]),
        ("seen.append((comm, mode))", ["_comm", "mode"]),
        ("[delta for _ in (1,)]", ["delta"]),
        ("(lambda: total)()", ["total"]),
        ("del name", ["name"]),
        ("mode = 5", []),
        ("vars()", ["_comm", "_tid", "_time", "delta", "mode", "name", "total"]),
        ("(lambda: eval('1'))()", ["_comm", "_tid", "_time", "delta", "mode", "name", "total"]),
    ],
)
def test_only_what_is_read_is_asked_for(tmp_path: Path, body: str, columns: list[str]) -> None:
    run = Run(tmp_path, f"def test__event({HEAD}):\n    {body}", EVENT)
    assert run.asked == columns
    schema = make_schema("test:event", own=OWN, common=COLUMNS, columns=columns)
    Run(tmp_path, f"def test__event({HEAD}):\n    {body}", schema).send(
        make_batch(schema, FIRST), make_batch(schema, FIRST, cpu=1)
    )


def test_a_time_put_together_again_is_that_of_the_row(tmp_path: Path) -> None:
    text = f"""
        def test__event({HEAD}):
            seen.append((secs * 1_000_000_000 + nsecs, secs * 1000000000 + secs, nsecs))
    """
    run = Run(tmp_path, text, EVENT)
    run.send(events(5_000_000_007))
    assert run.seen == [(5_000_000_007, 5_000_000_005, 7)]
    text = f"""
        def test__event({HEAD}):
            secs = 1
            seen.append(secs * 1_000_000_000 + nsecs)
    """
    run = Run(tmp_path, text, EVENT)
    run.send(events(5_000_000_007))
    assert run.seen == [1_000_000_007]


@pytest.mark.parametrize("reading", ["nsecs, cpu", "nsecs", "nsecs, cpu, (lambda: cpu)()"])
def test_one_event_of_several_cpus_is_in_order(tmp_path: Path, reading: str) -> None:
    run = Run(tmp_path, f"def test__event({HEAD}):\n    seen.append(({reading},))", EVENT)
    run.send(events(1, 4, 9, cpu=0), events(2, 3, 8, cpu=1), mark=9)
    assert [each[0] for each in run.seen] == [1, 2, 3, 4, 8]
    if "cpu" in reading:
        assert [each[1] for each in run.seen] == [0, 1, 1, 0, 1]
    run.send(events(11, cpu=1), mark=20)
    assert [each[0] for each in run.seen[5:]] == [9, 11]


def test_several_events_are_in_order(tmp_path: Path) -> None:
    text = f"""
        def test__event({HEAD}):
            seen.append((nsecs, cpu))
        def trace_unhandled(event_name, context, fields):
            seen.append((fields["common_ns"], fields["common_cpu"], fields["x"], event_name))
    """
    run = Run(tmp_path, text, EVENT, OTHER)
    run.send(events(1, 4), make_batch(OTHER, {"_time": 2, "x": 5}, cpu=1))
    assert run.seen == [(1, 0), (2, 1, 5, "test__other"), (4, 0)]


def test_unhandled_events_have_perfs_keys(tmp_path: Path) -> None:
    text = """
        def trace_unhandled(event_name, context, fields, sample):
            seen.append((list(fields), sample["sample"]["tid"], sample["ev_name"]))
            seen.append(sample["callchain"] is fields["common_callchain"])
    """
    run = Run(tmp_path, text, EVENT)
    run.send(make_batch(EVENT, FIRST))
    common = ["common_cpu", "common_s", "common_ns", "common_pid", "common_comm"]
    names = [*common, "common_callchain", "delta", "total", "mode", "name"]
    assert run.seen == [(names, 41, "test:event"), True]


@pytest.mark.parametrize("way", ["fused", "called"])
def test_a_handler_may_be_replaced_while_it_runs(tmp_path: Path, way: str) -> None:
    body = "global test__event; test__event = second; seen.append('first')"
    if way == "called":
        body += "; (lambda: 0)()"
    text = f"""
        def second({HEAD}):
            seen.append("second")
        def test__event({HEAD}):
            {body}
    """
    run = Run(tmp_path, text, EVENT)
    run.send(events(1, 2, 3))
    run.send(events(4))
    # The loop of a fused handler ends first.
    expected = ["first"] + ["second"] * 3 if way == "called" else ["first"] * 3 + ["second"]
    assert run.seen == expected


def test_a_replaced_handler_that_reads_more_is_told(tmp_path: Path) -> None:
    text = f"""
        def second(*given):
            pass
        def test__event({HEAD}):
            global test__event
            test__event = second
    """
    run = Run(tmp_path, text, EVENT)
    run.send(events(1))
    with pytest.raises(ClientError, match="run with --all-fields"):
        run.send(events(2))


def test_flags_are_told_before_the_first_event(tmp_path: Path) -> None:
    schema = make_schema("test:event", own=OWN, common=COLUMNS)
    schema.print_fmt = '"%s", __print_flags(REC->mode, "|", {1, "A"}, {2, "B"})'
    text = f"""
        def define_flag_field(*given):
            seen.append(given)
        def define_flag_value(*given):
            seen.append(given)
        def test__event({HEAD}):
            seen.append(mode)
    """
    run = Run(tmp_path, text, schema)
    assert run.seen == []
    run.send(make_batch(schema, {"_time": 1, "mode": 3}), make_batch(schema, {"_time": 2}))
    name = "test__event"
    assert run.seen == [
        *((name, "mode", "|"), (name, "mode", 1, "A"), (name, "mode", 2, "B"), 3, 0),
    ]


def test_text_that_is_none_makes_bytes_of_a_field_for_good(tmp_path: Path) -> None:
    run = Run(tmp_path, f"def test__event({HEAD}):\n    seen.append(name)", EVENT)
    run.send(events(1, name=b"ab\0"), events(2, name=b"\x01\x02"), events(3, name=b"ab\0"))
    assert [type(name) for name in run.seen] == [str, bytearray, bytearray]


def test_dynamic_text_and_bytes(tmp_path: Path) -> None:
    schema = make_schema("test:event", own=(("path", DYNAMIC_STRING, 8), ("raw", BYTES, 4)))
    schema.all_fields[0].type = "__data_loc char[]"
    schema.all_fields[1].type = "u32[1]"
    text = "def test__event(a, b, c, d, e, f, g, h, path, raw):\n    seen.append((path, raw))"
    run = Run(tmp_path, text, schema)
    run.send(make_batch(schema, {"_time": 1, "path": b"/etc\0", "raw": b"\1\0\0\0"}))
    assert run.seen == [("/etc", bytearray(b"\1\0\0\0"))]


def test_an_exception_ends_the_run_as_perf_ends(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Run(tmp_path, f"def test__event({HEAD}):\n    seen.append(1)\n    1 / 0", EVENT)
    with pytest.raises(EndRun) as end:
        run.send(events(1, 2))
    assert end.value.status == 134
    told = capsys.readouterr().err
    assert "ZeroDivisionError" in told
    assert "handler_call_die" in told
    assert "ptrace_client" not in told
    assert run.seen == [1]


def test_strict_is_perfs_own_rule(tmp_path: Path) -> None:
    """The man page's form, without a call chain: perf passes one all the same."""
    text = f"def test__event({HEAD.replace(' chain,', '')}):\n    seen.append((pid, comm, delta))"
    run = Run(tmp_path, text, EVENT)
    run.send(make_batch(EVENT, FIRST))
    assert run.seen == [(41, "task", 4294967295)]
    run = Run(tmp_path, text, EVENT, options=DialectOptions(strict=True))
    with pytest.raises(EndRun) as end:
        run.send(make_batch(EVENT, FIRST))
    assert end.value.status == 134


def test_samples_are_told_as_by_perf(tmp_path: Path) -> None:
    columns = ("_pid", "_tid", "_comm", "ip", "period", "callchain")
    schema = make_sample_schema("cpu-clock", columns=columns)
    run = Run(tmp_path, "def process_event(d):\n    seen.append(d)", schema)
    run.send(make_batch(schema, {"_time": 7, "_pid": 4, "_tid": 5, "ip": 9}, cpu=2))
    (told,) = run.seen
    assert [*told][:6] == ["ev_name", "attr", "sample", "raw_buf", "comm", "callchain"]
    sample = told["sample"]
    assert (sample["pid"], sample["tid"], sample["time"], sample["cpu"]) == (4, 5, 7, 2)
    assert len(told["attr"]) == 128


def test_a_script_without_a_handler_is_told(tmp_path: Path) -> None:
    with pytest.raises(ClientError, match=r"no handler for test:event: define test__event or"):
        Run(tmp_path, "def trace_begin():\n    pass\n", EVENT)


def test_a_script_that_only_exports_is_sent_to_recordings(tmp_path: Path) -> None:
    with pytest.raises(ClientError, match="exports to a database, which takes a recording"):
        Run(tmp_path, "perf_db_export_mode = True\ndef sample_table(*x):\n    pass\n", EVENT)


def test_throttling_is_told_with_numbers_that_are_none(tmp_path: Path) -> None:
    text = """
        def throttle(*given):
            seen.append(("throttle", *given))
        def unthrottle(*given):
            seen.append(("unthrottle", *given))
        def trace_unhandled(a, b, c):
            pass
    """
    run = Run(tmp_path, text, EVENT)
    run.script.throttled(True, 5)
    run.script.throttled(False, 7)
    nobody = ((1 << 64) - 1, (1 << 64) - 1, -1, -1, -1)
    assert run.seen == [("throttle", 5, *nobody), ("unthrottle", 7, *nobody)]


def test_losses_are_told_to_scripts_that_ask(tmp_path: Path) -> None:
    text = """
        def __lost__(start, end):
            seen.append((start, end))
        def trace_unhandled(a, b, c):
            pass
    """
    run = Run(tmp_path, text, EVENT)
    loss = pb.Loss(schema_id=1, count=3, stage=pb.LOSS_STAGE_QUEUE, start_time=4, end_time=9)
    run.dispatcher.message(pb.TraceResponse(losses=[loss]))
    assert run.seen == [(4, 9)]


def test_what_only_recordings_have_is_told(tmp_path: Path) -> None:
    text = """
        perf_db_export_mode = True
        def context_switch(*given):
            pass
        def trace_unhandled(a, b, c):
            pass
    """
    switches, tables = Run(tmp_path, text, EVENT).script.warnings([EVENT])
    assert switches == (
        "context_switch is not called on a live host: sched:sched_switch tells of switches, too"
    )
    assert tables == "tables for databases are filled from recordings (-i), not on a live host"


def test_a_probe_may_have_the_name_that_perf_gives_it(tmp_path: Path) -> None:
    schema = make_schema("uprobe:malloc", own=(("ip", UNSIGNED, 8),), alias="probe_libc__malloc")
    schema.source = pb.EVENT_SOURCE_PROBE
    head = HEAD.partition(", delta")[0]
    text = f"def probe_libc__malloc({head}, ip):\n    seen.append((event_name, ip))"
    run = Run(tmp_path, text, schema)
    run.send(make_batch(schema, {"_time": 1, "ip": 99}))
    assert run.seen == [("probe_libc__malloc", 99)]


def test_stacks_are_callchains_shared_with_the_dictionary(tmp_path: Path) -> None:
    schema = make_schema("test:event", own=OWN, common=(*COLUMNS, CALLCHAIN))
    schema.stack = True
    text = f"""
        def test__event({HEAD}, sample):
            seen.append(chain)
            seen.append((sample["callchain"] is chain, sample["symbol"], sample["symoff"]))
    """
    run = Run(tmp_path, text, schema)
    kernel = (1 << 63) + 0x108
    stack = make_stack(4, (kernel, "leaf", 8, True, "[kernel.kallsyms]"), (5, "", 0, False, ""))
    batch = make_batch(schema, {**FIRST, "_callchain": 4})
    run.dispatcher.message(pb.TraceResponse(stacks=[stack], batches=[batch]))
    run.dispatcher.finish()
    symbol = {"start": kernel - 8, "end": kernel + 1, "binding": 1, "name": "leaf"}
    leaf = {"ip": kernel, "sym": symbol, "sym_off": 8, "dso": "[kernel.kallsyms]"}
    assert run.seen == [[leaf, {"ip": 5}], (True, "leaf", 8)]


def test_expressions_have_no_names_of_the_script() -> None:
    tree = calls.expression("f(a[b : b + (c >> 32)], None, x=d)")
    names = {node.id for node in calls.ast.walk(tree) if isinstance(node, calls.ast.Name)}
    assert names == {".f", ".a", ".b", ".c", ".d"}
