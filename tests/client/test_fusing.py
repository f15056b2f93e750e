"""Fused handlers: what is fused, and that nobody can tell."""

from __future__ import annotations

import contextlib
import io
import types
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import pytest
from event_samples import (
    CHARS,
    DYNAMIC_STRING,
    REALTIME_OFFSET,
    SIGNED,
    UNSIGNED,
    make_batch,
    make_sample_schema,
    make_schema,
    make_started,
)
from handler_grammar import BODIES, ROWS
from hypothesis import event as note
from hypothesis import given, settings
from hypothesis import strategies as st

from ptrace_client.decode import RowLayout
from ptrace_client.dispatch import Dispatcher
from ptrace_client.event_decoder import EventDecoder
from ptrace_client.fusing import Fused, fuse
from ptrace_client.losses import Losses
from ptrace_client.projection import columns, event_reads
from ptrace_client.script import Script
from ptrace_client.script_errors import EndRun, ScriptErrors
from ptrace_proto import ptrace_pb2 as pb

OWN = (("comm", CHARS, 16), ("pid", SIGNED, 4), ("prio", UNSIGNED, 8), ("keys", SIGNED, 4))
PREAMBLE = """\
seen, log, total = {}, [], 0

class Noisy:
    def __init__(self, value): self.value = value
    def __repr__(self): return f"<{self.value}>"
    def __del__(self): print("gone", self.value)
    def __enter__(self): print("in", self.value)
    def __exit__(self, kind, error, traceback): print("out", kind)

def helper(value):
    return value // (value - 2)

"""
NAME = "sched__sched_wakeup"


def script_source(body: str, parameters: str = "event") -> str:
    lines = "\n".join(f"    {line}" for line in body.splitlines())
    return f"{PREAMBLE}def {NAME}({parameters}):\n{lines}\n"


def load(path: Path, source: str) -> types.ModuleType:
    path.write_text(source)
    module = types.ModuleType("script")
    vars(module).update(__file__=str(path))
    exec(compile(source, str(path), "exec", dont_inherit=True), vars(module))
    return module


def fused(handler: Any, own: Sequence[Any] = OWN) -> Fused | None:
    schema = make_schema(own=own)
    return fuse(handler, schema, RowLayout(schema, columns(event_reads(handler), schema)), 0)


class Outcome(NamedTuple):
    """All that can be told of a run from outside."""

    seen: str
    output: str
    errors: str
    count: int
    delivered: int
    calls: int


def run(
    path: Path, source: str, rows: Sequence[dict[str, Any]], *, fusing: bool, **options: Any
) -> Outcome:
    module = load(path, source)
    schema = make_schema(own=OWN)
    calls: list[int] = []
    with (
        contextlib.redirect_stdout(io.StringIO()) as output,
        contextlib.redirect_stderr(io.StringIO()) as errors,
    ):
        script_errors = ScriptErrors(options.pop("strict", False))
        with (
            contextlib.nullcontext() if fusing else patch("ptrace_client.event_target.fuse", never)
        ):
            dispatcher = Dispatcher(
                Script(module).bind([schema], False),
                make_started(schema),
                script_errors,
                Losses(quiet=True),
                between=lambda: calls.append(dispatcher.delivered),
                **options,
            )
        for batch in make_batch(schema, *rows, cpu=3), make_batch(schema, *rows[:2], cpu=1):
            with contextlib.suppress(EndRun):
                dispatcher.message(message(batch))
    seen = f"{module.seen} {module.log} {module.total}"
    told = output.getvalue(), errors.getvalue()
    return Outcome(seen, *told, script_errors.count, dispatcher.delivered, len(calls))


def never(*args: Any) -> None:
    """Fuse nothing."""


def message(batch: pb.Batch) -> pb.TraceResponse:
    return pb.TraceResponse(batches=[batch])


FUSED = [
    "pass",
    "'What it does.'",
    "seen[event._pid] = event._time",
    "seen[event['comm']] = event['keys'], event._comm",
    "log.append((event._cpu, event._event, event._period, event.common_type))",
    "log.append((event.common_pid, event._realtime, event.common_flags))",
    "global total\ntotal += event.prio",
    "since = seen.get(event.pid)\nif since is None:\n    return\nlog.append(event._time - since)",
    "return event.pid",
    "for i in range(3):\n    if i == event.pid:\n        break\nelse:\n    log.append(i)",
    "try:\n    return helper(event.pid)\nexcept ArithmeticError as error:\n    print(error)",
    "with Noisy(event.pid):\n    log.append(event.pid)",
    "match event.pid:\n    case 1 | 2:\n        print(1)\n    case other:\n        print(other)",
    "print(f'{event.comm:>10} {event.pid=}')",
    "import math\nlog.append(math.sqrt(event.prio))",
]


@pytest.mark.parametrize("body", FUSED)
def test_plain_handlers_are_fused(tmp_path: Path, body: str) -> None:
    # GIVEN a handler that only reads columns
    path = tmp_path / "script.py"
    assert fused(vars(load(path, script_source(body)))[NAME]) is not None
    # WHEN it handles more events than go to it at a time
    rows = [
        {"_time": n, "_pid": n % 7, "_tid": n, "pid": n % 5, "comm": b"task"} for n in range(600)
    ]
    # THEN it does what it would do without
    with_it, without = (run(path, script_source(body), rows, fusing=flag) for flag in (True, False))
    assert with_it == without
    assert with_it.delivered == 602


SAMPLE_HANDLERS = {
    "log.append((event.ip, event.period, event['callchain'] if total else 0))": False,
    "log.append((event.ip, event.pid, event.tid, event.time, event.cpu))": True,
    "log.append((event._pid, event._cpu, event._event, event._realtime))": True,
    # Not of sampled events.
    "log.append(event.common_type)": False,
    "log.append(event._period)": False,
}


@pytest.mark.parametrize(("body", "expected"), SAMPLE_HANDLERS.items())
def test_handlers_of_samples_are_fused(tmp_path: Path, body: str, expected: bool) -> None:
    # GIVEN a handler of a sampled event, whose members are columns of another name in part
    source = script_source(body).replace(NAME, "profile")
    module = load(tmp_path / "script.py", source)
    schema = make_sample_schema()
    (binding,) = Script(module).bind([schema], False)
    decoder = EventDecoder(schema, REALTIME_OFFSET, binding.columns)
    loop = fuse(binding.handler, schema, decoder.layout, REALTIME_OFFSET)
    # THEN it is fused where it only reads columns
    assert (loop is not None) == expected
    # AND does what it would do without
    batch = make_batch(schema, {"_time": 5, "_pid": 1, "_tid": 2, "ip": 9, "period": 3}, cpu=3)
    if loop is not None:
        loop(decoder.layout.rows(batch), 3)
        for event in decoder.decode(batch):
            module.profile(event)
        assert module.log[0] == module.log[1]


REFUSED = [
    "print(event)",
    "event.get('pid')",
    "'pid' in event",
    "getattr(event, 'pid')",
    "event.nosuch",
    "event['nosuch']",
    "event._callchain",
    "event.keys",
    "event.pid = 1",
    "log.append([n for n in range(event.pid)])",
    "log.append(lambda: 1)",
    "log.append(lambda: event.pid)",
    "def inner(): return 1\nlog.append(inner())",
    "class Inner: pass",
    "yield event.pid",
    "for i in range(event.pid):\n    return",
    "while event.pid:\n    return",
    "with Noisy(1):\n    return event.pid",
    "try:\n    return event.pid\nfinally:\n    log.append(1)",
    "try:\n    log.append(1)\nfinally:\n    return",
    "try:\n    log.append(event.pid)\nexcept* ValueError:\n    pass\nreturn locals()",
    "match log:\n    case [event.pid]:\n        pass",
    "log.append(locals())",
]


@pytest.mark.parametrize("body", REFUSED)
def test_all_others_are_left_alone(tmp_path: Path, body: str) -> None:
    module = load(tmp_path / "script.py", script_source(body))
    assert fused(vars(module)[NAME]) is None


@pytest.mark.parametrize(
    "parameters",
    ["*event", "event, extra=1", "event=None", "*, event=1", "event, *more", "event, **more"],
)
def test_only_a_plain_parameter_is_fused(tmp_path: Path, parameters: str) -> None:
    module = load(tmp_path / "script.py", script_source("log.append(event.pid)", parameters))
    assert fused(vars(module)[NAME]) is None


def test_only_functions_of_the_module_itself_are_fused(tmp_path: Path) -> None:
    module = load(
        tmp_path / "script.py",
        "def make(n):\n"
        "    def closed(event): return event.pid + n\n"
        "    def inner(event): return event.pid\n"
        "    return closed, inner\n"
        "closed, inner = make(1)\n"
        "short = lambda event: event.pid\n"
        "def same(f): return f\n"
        "@same\n"
        "def decorated(event): return event.pid\n"
        "async def later(event): return event.pid\n"
        "class Handler:\n"
        "    def __call__(self, event): return event.pid\n"
        "handler = Handler()\n"
        "def plain(e: int, /) -> None: e.pid\n",
    )
    names = ["closed", "inner", "short", "decorated", "later", "handler"]
    assert [fused(getattr(module, name)) for name in names] == [None] * len(names)
    assert fused(module.plain) is not None
    assert fused(print) is None


def test_dynamic_strings_are_left_to_events(tmp_path: Path) -> None:
    module = load(tmp_path / "script.py", script_source("log.append(event.name)"))
    own = (("name", DYNAMIC_STRING, 8), ("pid", SIGNED, 4))
    assert fused(vars(module)[NAME], own) is None


def test_columns_beside_dynamic_strings_are_fused(tmp_path: Path) -> None:
    # GIVEN an event with rows of any length
    module = load(tmp_path / "script.py", script_source("log.append(event.pid)"))
    schema = make_schema(own=(("name", DYNAMIC_STRING, 8), ("pid", SIGNED, 4)))
    layout = RowLayout(schema, {"pid"})
    handle = fuse(vars(module)[NAME], schema, layout, REALTIME_OFFSET)
    assert handle is not None
    # THEN its other columns are read from them
    handle(layout.rows(make_batch(schema, {"pid": 5, "name": b"abc\0"}, {"pid": 6})), 0)
    assert module.log == [5, 6]


def test_the_scripts_own_names_are_untouched(tmp_path: Path) -> None:
    # GIVEN a script with names like those of fields, of which some stay unknown
    source = script_source("pid = event.pid\nlog.append((pid, rows, row))\nreturn _time")
    source = source.replace("def helper", "rows, row = 'rows', 'row'\n\ndef helper")
    path = tmp_path / "script.py"
    assert fused(vars(load(path, source))[NAME]) is not None
    # THEN each means what it meant
    with_it, without = (
        run(path, source, [{"pid": 1, "_time": 9}], fusing=flag) for flag in (True, False)
    )
    assert with_it == without
    assert with_it.seen == "{} [(1, 'rows', 'row'), (1, 'rows', 'row')] 0"
    assert "NameError: name '_time' is not defined" in with_it.errors


def test_a_traceback_looks_as_ever(tmp_path: Path) -> None:
    path = tmp_path / "script.py"
    source = script_source("if event._time == 2:\n    return seen[event.pid].nothing")
    rows = [{"_time": n, "pid": n} for n in range(4)]
    outcome = run(path, source, rows, fusing=True)
    line = source.splitlines().index("        return seen[event.pid].nothing") + 1
    assert outcome.errors == (
        "Traceback (most recent call last):\n"
        f'  File "{path}", line {line}, in {NAME}\n'
        "    return seen[event.pid].nothing\n"
        "           ~~~~^^^^^^^^^^^\n"
        "KeyError: 2\n"
    )
    assert (outcome.count, outcome.delivered) == (1, 6)


def test_with_all_fields_there_are_events(tmp_path: Path) -> None:
    # GIVEN a handler whose helper looks into its frame, which nothing in its source tells
    source = script_source("log.append(peek())")
    source = source.replace(
        "def helper", "import sys\ndef peek(): return list(sys._getframe(1).f_locals)\ndef helper"
    )
    module = load(tmp_path / "script.py", source)
    schema = make_schema(own=OWN)
    # WHEN it runs with --all-fields
    dispatcher = Dispatcher(
        Script(module).bind([schema], True),
        make_started(schema),
        ScriptErrors(),
        Losses(quiet=True),
    )
    dispatcher.message(message(make_batch(schema, {"pid": 1})))
    # THEN it finds the event there
    assert module.log == [["event"]]


@settings(max_examples=150, deadline=None)
@given(body=BODIES, rows=ROWS, limit=st.none() | st.integers(1, 5), strict=st.booleans())
def test_nobody_can_tell_that_a_handler_was_fused(
    body: str,
    rows: list[dict[str, Any]],
    limit: int | None,
    strict: bool,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    # GIVEN any handler
    path = tmp_path_factory.mktemp("handler") / "script.py"
    source = script_source(body)
    note("fused" if fused(vars(load(path, source))[NAME]) else "left alone")
    # WHEN it runs in both ways
    outcomes = [
        run(path, source, rows, fusing=fusing, limit=limit, strict=strict)
        for fusing in (True, False)
    ]
    # THEN what it did, printed and raised is the same, in the same places
    assert outcomes[0] == outcomes[1]
