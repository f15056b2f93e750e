"""Which fields a handler reads: found exactly, or all of them."""

from __future__ import annotations

import functools
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from event_samples import (
    CALLCHAIN,
    REALTIME_OFFSET,
    REGS,
    UNSIGNED,
    WAKEUP,
    make_batch,
    make_sample_schema,
    make_schema,
)
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from ptrace_client.event_decoder import EventDecoder
from ptrace_client.module_loader import load_module
from ptrace_client.projection import (
    ALL,
    Reads,
    batch_reads,
    columns,
    event_reads,
    projection,
)
from ptrace_proto import ptrace_pb2 as pb

Loader = Callable[[str], types.ModuleType]


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Loader:
    """Return a function that imports source text as a script."""
    monkeypatch.setattr("sys.path", [])
    monkeypatch.setattr("sys.argv", [])

    def loaded(source: str) -> types.ModuleType:
        path = tmp_path / f"script{len(list(tmp_path.iterdir()))}.py"
        path.write_text(source)
        return load_module(str(path), [])

    return loaded


def body(statements: str, parameters: str = "event") -> str:
    lines = "\n".join(f"    {line}" for line in statements.splitlines())
    return f"import sys\nseen = {{}}\ndef handler({parameters}):\n{lines}\n"


EXACT = {
    "pass": "",
    "seen[event.pid] = event._time": "pid _time",
    "x = event['pid'], event['from']": "pid from",
    "event.get('pid'); event.get('prio', event.comm)": "pid prio comm",
    "if 'pid' in event: pass": "",
    "if 'pid' not in event: event.prio": "prio",
    "hasattr(event, 'pid') and getattr(event, 'prio', None)": "pid prio",
    "print(f'{event.pid:5} {event.comm!r} {event.prio=}')": "pid comm prio",
    "return event.pid": "pid",
    "return [event.pid for _ in range(3)], {k: event.prio for k in 'ab'}": "pid prio",
    "def later():\n    return event.pid\nseen[1] = later": "pid",
    "seen[1] = lambda x, y=1: event.pid + x": "pid",
    "try:\n    event.pid\nexcept KeyError as error:\n    event.prio\nfinally:\n    event.comm": (
        "pid prio comm"
    ),
    "match event.pid:\n    case 1 | 2: pass\n    case other: other + event.prio": "pid prio",
    "while event.pid > 5 and not event.prio: break": "pid prio",
    "event._realtime; event.common_pid; event._cpu": "_realtime common_pid _cpu",
    "event.comm.strip().split(':')[event.prio]": "comm prio",
    "x = event.nosuch": "nosuch",
    "x = event.count + event.index": "count index",
    "x = event['keys'], event['print']": "keys print",
    "with open('/dev/null') as f: f.write(event.comm)": "comm",
}


@pytest.mark.parametrize(("statements", "names"), EXACT.items())
def test_plain_reads_are_found(load: Loader, statements: str, names: str) -> None:
    module = load(body(statements))
    assert event_reads(module.handler) == Reads(frozenset(names.split()))


@pytest.mark.parametrize("parameters", ["event, cache={}", "event, /", "e: int = 3, *, flag=1"])
def test_the_first_parameter_is_the_event(load: Loader, parameters: str) -> None:
    name = parameters.partition(",")[0].partition(":")[0]
    module = load(body(f"return {name}.pid", parameters))
    assert event_reads(module.handler) == Reads(frozenset(["pid"]))


ESCAPES = [
    "print(event)",
    "return event",
    "seen[0] = event",
    "seen[event] = 0",
    "f'{event}'",
    "str(event)",
    "'%s' % event",
    "repr(event)",
    "other = event",
    "event = 5\nevent.real",
    "del event",
    "for key, value in event: pass",
    "for event in (event,): event.pid",
    "[e.pid for e in [event]]",
    "list(event)",
    "{**dict(event)}",
    "print(*event)",
    "len(event)",
    "event.keys()",
    "event.values()",
    "event.items()",
    "event.to_dict()",
    "event.print()",
    "show = event.print",
    "get = event.get",
    "event.get(seen)",
    "event.get(*['pid'])",
    "event.get('pid', default=3)",
    "event.__dict__",
    "event.__class__",
    "event.__getitem__('pid')",
    "name = 'pid'\nevent[name]",
    "event[f'pi{1}']",
    "event[1]",
    "getattr(event, seen)",
    "getattr(event, 'print')()",
    "getattr = seen.get\ngetattr(event, 'pid')",
    "hasattr(event, *['pid'])",
    "seen in event",
    "'pid' in event in seen",
    "event == 1",
    "event.pid = 1",
    "event.pid += 1",
    "del event.pid",
    "event['pid'] = 1",
    "if event: pass",
    "assert event",
    "yield event",
    "seen[1] = lambda e=event: e.pid",
    "seen[1] = lambda event: event.pid",
    "def event(): pass",
    "def inner(event): return event.pid",
    "class event: pass",
    "class Inner:\n    x = event.__pid",
    "import os as event\nevent.pid",
    "import event",
    "try: pass\nexcept Exception as event: event.pid",
    "match seen:\n    case event: event.pid",
    "match seen:\n    case [*event]: event.pid",
    "match seen:\n    case {**event}: event.pid",
    "match event:\n    case _: pass",
    "with seen as event: event.pid",
    "(event := 5)",
    "handler(event)",
    "exec('print(event)')",
    "eval('event.pid')",
    "locals()",
    "vars()",
    "dir()",
    "breakpoint()",
    "sys._getframe(0).f_locals",
    "from inspect import currentframe as cf\ncf()",
    "from builtins import locals as lo\nlo()",
]


@pytest.mark.parametrize("statements", ESCAPES)
def test_all_else_means_every_field(load: Loader, statements: str) -> None:
    module = load(body(statements))
    assert event_reads(module.handler).everything


def test_a_parameter_that_is_declared_global_elsewhere_is_not_followed(load: Loader) -> None:
    module = load(body("def inner():\n    global event\n    event = 5\nevent.pid"))
    assert event_reads(module.handler).everything


def test_a_builtin_of_the_scripts_own_is_not_trusted(load: Loader) -> None:
    module = load("def getattr(e, name): return e.prio\n" + body("getattr(event, 'pid')"))
    assert event_reads(module.handler).everything


@pytest.mark.parametrize(
    ("head", "statement", "names"),
    [
        ("import time", "time.sleep(event.pid)", "pid"),
        ("import math as m", "m.hypot(event.pid, event.prio)", "pid prio"),
        ("from os import path", "path.join(event.comm)", "comm"),
    ],
)
def test_methods_of_imported_modules_hide_nothing(
    load: Loader, head: str, statement: str, names: str
) -> None:
    module = load(f"{head}\ndef handler(event):\n    {statement}\n")
    assert event_reads(module.handler) == Reads(frozenset(names.split()))


def test_what_is_no_plain_function_gets_every_field(load: Loader) -> None:
    module = load(
        "import functools\n"
        "def decorate(f):\n"
        "    def inner(event): return f(event)\n"
        "    return inner\n"
        "@decorate\n"
        "def decorated(event): event.pid\n"
        "@functools.wraps(decorated)\n"
        "def wrapping(event): event.pid\n"
        "@functools.lru_cache\n"
        "def cached(event): event.pid\n"
        "@staticmethod\n"
        "def static(event): event.pid\n"
        "class Handler:\n"
        "    def __call__(self, event): event.pid\n"
        "    def method(self, event): event.pid\n"
        "def plain(event): event.pid\n"
        "def star(*event): event.pid\n"
        "def nothing(): pass\n"
        "async def coroutine(event): event.pid\n"
    )
    handlers = [
        *(module.decorated, module.wrapping, module.cached, module.static, module.coroutine),
        *(module.Handler(), module.Handler().method, functools.partial(module.plain)),
        *(module.star, module.nothing, print, "no function"),
    ]
    assert [event_reads(handler) for handler in handlers] == [ALL] * len(handlers)
    assert event_reads(module.plain) == Reads(frozenset(["pid"]))


def test_lambdas_are_looked_at(load: Loader) -> None:
    module = load("handler = lambda event: event.pid\nboth = [lambda e: e.x, lambda e: e.y]\n")
    assert event_reads(module.handler) == Reads(frozenset(["pid"]))
    assert [event_reads(one) for one in module.both] == [
        Reads(frozenset(["x"])),
        Reads(frozenset(["y"])),
    ]


def test_source_that_is_not_what_runs_is_not_believed(load: Loader) -> None:
    # GIVEN a script whose file changed after it was loaded
    module = load(body("return event.pid"))
    Path(str(module.__file__)).write_text(body("return event.prio"))
    # THEN its text says nothing about the function
    assert event_reads(module.handler).everything


def test_a_function_without_source_gets_every_field() -> None:
    namespace: dict[str, Any] = {}
    exec("def handler(event): return event.pid", namespace)
    assert event_reads(namespace["handler"]) == ALL


BATCH_EXACT = {
    "pass": "",
    "batch['pid'].sum()": "pid",
    "x = batch[['pid', 'prio']]": "pid prio",
    "len(batch), batch.size, batch.lost, batch.start, batch.end, batch.cpu, batch.event": "",
    "batch['_cpu'] + batch['_realtime']": "_cpu _realtime",
    "f = lambda: batch['pid']": "pid",
}


@pytest.mark.parametrize(("statements", "names"), BATCH_EXACT.items())
def test_plain_reads_of_batches_are_found(load: Loader, statements: str, names: str) -> None:
    module = load(body(statements, "batch"))
    assert batch_reads(module.handler) == Reads(frozenset(names.split()))


@pytest.mark.parametrize(
    "statements",
    [
        "print(batch)",
        "batch[0]",
        "batch[batch['pid'] > 3]",
        "batch[[]].size",
        "batch[['pid', seen]]",
        "batch.dtype",
        "batch.pid",
        "for row in batch: pass",
        "seen[0] = batch",
        "batch['pid'] = 1",
        "len(*batch)",
        "batch.tolist()",
    ],
)
def test_all_else_done_to_a_batch_means_every_field(load: Loader, statements: str) -> None:
    module = load(body(statements, "batch"))
    assert batch_reads(module.handler).everything == (statements != "batch[[]].size")


def test_columns_are_those_the_event_has() -> None:
    schema = make_schema()
    reads = Reads(
        frozenset(["pid", "nosuch", "_realtime", "common_pid", "_cpu", "_event", "_comm", "_pid"])
    )
    assert columns(reads, schema) == {"pid", "_time", "_tid", "_comm", "_pid"}
    assert columns(ALL, schema) is None
    assert columns(Reads(), schema) == frozenset()


STACKS = make_schema(own=(*WAKEUP, CALLCHAIN))
del STACKS.all_fields[-1]
STACKS.stack = True
REGISTERS = (("regs_user", REGS, 8), ("regs_intr", REGS, 8))
SAMPLES = make_sample_schema(on_request=REGISTERS)


def test_chains_are_columns_where_there_are_stacks() -> None:
    reads = Reads(frozenset(["_callchain", "callchain", "pid"]))
    assert columns(reads, make_schema()) == {"pid"}
    assert columns(reads, STACKS) == {"pid", "_callchain"}
    assert columns(reads, SAMPLES) == {"_pid", "callchain"}


def test_members_of_samples_without_columns_are_those_of_all() -> None:
    reads = Reads(frozenset(["pid", "tid", "time", "cpu", "_realtime", "ip", "prio", "_comm"]))
    assert columns(reads, SAMPLES) == {"_pid", "_tid", "_time", "ip", "_comm"}
    own = make_sample_schema(members=[(name, UNSIGNED, 8) for name in ("pid", "time", "cpu")])
    assert columns(reads, own) == {"_tid", "_time", "_comm", "pid", "time", "cpu"}


def test_what_is_asked_for() -> None:
    named = Reads(frozenset(["ip", "regs_user"]))
    both = Reads(frozenset(["ip", "regs_user"]), everything=True)
    # All of a sample is what it has anyway, what print() needs, and what is named.
    every = ["_comm", "_pid", "_tid", "_time", "callchain", "ip", "period"]
    assert [
        projection(named, SAMPLES),
        projection(ALL, SAMPLES),
        projection(both, SAMPLES),
        projection(both, STACKS),
    ] == [
        pb.Projection(event="profile", fields=["ip", "regs_user"]),
        pb.Projection(event="profile", fields=every),
        pb.Projection(event="profile", fields=[*every, "regs_user"]),
        pb.Projection(event="sched:sched_wakeup", all_fields=True),
    ]


@pytest.mark.parametrize(
    ("statements", "expected"),
    [
        ("batch.stacks", {"_callchain"}),
        ("[batch.stacks[n] for n in batch['_callchain']], batch['pid']", {"_callchain", "pid"}),
    ],
)
def test_stacks_of_a_batch_need_their_numbers(
    load: Loader, statements: str, expected: set[str]
) -> None:
    assert columns(batch_reads(load(body(statements, "batch")).handler), STACKS) == expected


NAMES = st.sampled_from(
    [
        *("_pid", "_tid", "_time", "_realtime", "_cpu", "common_pid", "comm", "pid", "prio"),
        *("nosuch", "_callchain", "callchain", "cpu", "time", "ip", "regs_user"),
    ]
)
READS = st.one_of(
    NAMES.map("event.{}".format),
    NAMES.map("event['{}']".format),
    NAMES.map("event.get('{}', 7)".format),
    NAMES.map("('{}' in event)".format),
    NAMES.map("getattr(event, '{}', None)".format),
    NAMES.map("hasattr(event, '{}')".format),
    st.sampled_from(
        ["event", "str(event)", "dict(event)", "list(event)", "len(event)", "event.items()"]
    ),
    st.sampled_from(
        ["event.to_dict()", "other(event)", "seen.get(1)", "repr(event)", "f'{event}'"]
    ),
)


def nest(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.one_of(
        inner.map("[{}]".format),
        inner.map("(lambda: {})()".format),
        inner.map("(lambda e=event: e.get('prio'), {})".format),
        inner.map("[{} for x in range(2)]".format),
        inner.map("[event.comm for event in [event, event] if [{}]]".format),
        inner.map("(seen.__setitem__(1, event), seen[1].prio, {})".format),
        inner.map("(event := event, {})".format),
        st.tuples(inner, inner).map(lambda pair: f"({pair[0]}) or ({pair[1]})"),
        st.tuples(inner, inner).map(lambda pair: f"({pair[0]}, {pair[1]})"),
    )


def guarded(expression: str) -> str:
    """Return a statement that only a field that was not requested makes fail."""
    return (
        f"try:\n    {expression}\n"
        "except AttributeError as error:\n    assert 'was not requested' not in str(error)\n"
        "except NameError: pass"
    )


STATEMENTS = st.lists(
    st.recursive(READS, nest, max_leaves=5).map(guarded), min_size=1, max_size=4
).map("\n".join)


def narrowed(full: pb.EventSchema, asked: pb.Projection) -> pb.EventSchema:
    """Return the schema that a daemon makes of a request."""
    if full.source == pb.EVENT_SOURCE_SAMPLE:
        return make_sample_schema(on_request=REGISTERS, columns=asked.fields)
    if asked.all_fields:
        return full
    schema = make_schema(own=(*WAKEUP, CALLCHAIN), columns=asked.fields)
    del schema.all_fields[-1]
    schema.stack = full.stack
    return schema


@settings(max_examples=200, deadline=None)
@given(statements=STATEMENTS, full=st.sampled_from([make_schema(), STACKS, SAMPLES]))
def test_a_handler_never_meets_a_field_that_was_not_asked_for(
    statements: str, full: pb.EventSchema, tmp_path_factory: pytest.TempPathFactory
) -> None:
    # GIVEN a handler that does anything to its event
    source = "def other(event): return event.to_dict()\n" + body(statements)
    path = tmp_path_factory.mktemp("property") / "script.py"
    path.write_text(source)
    try:
        code = compile(source, str(path), "exec")
    except SyntaxError:
        # Not every place may bind the name anew.
        reject()
    namespace: dict[str, Any] = {}
    exec(code, namespace)
    # WHEN it runs on an event with no more columns than it was seen to read
    reads = event_reads(namespace["handler"])
    schema = narrowed(full, projection(reads, full))
    decoder = EventDecoder(schema, REALTIME_OFFSET, columns(reads, schema))
    event = next(decoder.decode(make_batch(schema, {"_time": 1, "pid": 2})))
    # THEN nothing but fields that no event has is missing
    namespace["handler"](event)
