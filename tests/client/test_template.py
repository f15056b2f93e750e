"""Script templates: valid Python that runs, with the fields documented."""

from __future__ import annotations

import ast
from collections.abc import Callable

import pytest
from event_samples import (
    BOOL,
    BYTES,
    DYNAMIC_BYTES,
    DYNAMIC_STRING,
    POINTER,
    READ,
    REGS,
    SIGNED,
    STACK,
    UNSIGNED,
    FakeStream,
    make_batch,
    make_loss,
    make_sample_schema,
    make_schema,
    make_started,
)

from conftest import LoadSource
from ptrace_client.runner import RunOptions, run_script
from ptrace_client.template import script_template
from ptrace_proto import ptrace_pb2 as pb

COMMAND = "ptrace-client run -e sched:sched_wakeup,test:event script.py"
CALLBACKS = ["__init__", "__exit__", "__interval__", "__print_stat__", "__lost__", "__sample__"]


def varied_schema() -> pb.EventSchema:
    schema = make_schema(
        "test:event",
        own=(
            ("name", DYNAMIC_STRING, 8),
            ("state", SIGNED, 4),
            ("flags", UNSIGNED, 8),
            ("ip", POINTER, 8),
            ("ok", BOOL, 1),
            ("mask", BYTES, 8),
            ("list", DYNAMIC_BYTES, 8),
        ),
        number=2,
    )
    infos = {info.name: info for info in schema.all_fields}
    infos["ok"].type, infos["flags"].type, infos["ip"].type = "bool", "unsigned long", "void *"
    infos["mask"].type, infos["list"].type = "cpumask_t", "__data_loc u16[]"
    infos["list"].element_size = 2
    infos["state"].named_values.values.add(value=2**64 - 1, name="GONE")
    infos["state"].named_values.values.add(value=1, name='say "hi" \\ \n')
    infos["flags"].named_values.flags = True
    for bit in range(40):
        infos["flags"].named_values.values.add(value=1 << bit, name=f"F{bit}")
    return schema


def docstring(template: str, function: str) -> list[str]:
    for node in ast.parse(template).body:
        if isinstance(node, ast.FunctionDef) and node.name == function:
            return (ast.get_docstring(node) or "").splitlines()
    raise AssertionError(f"no function {function}")


def test_its_parts_come_in_perf_profs_order() -> None:
    template = script_template([make_schema(), varied_schema()], COMMAND)
    assert template.startswith(f"# {COMMAND}\n#\n# Fields of every event:\n")
    functions = [node.name for node in ast.parse(template).body if hasattr(node, "name")]
    assert functions == [
        *CALLBACKS[:5],
        *("sched__sched_wakeup", "test__event", "__sample__"),
    ]
    for callback in CALLBACKS:
        assert docstring(template, callback)[0].startswith("[OPTIONAL] ")
    assert template.index("# import sys") < template.index("event_count = 0")


def test_fields_are_documented() -> None:
    template = script_template([make_schema(), varied_schema()], COMMAND)
    assert docstring(template, "sched__sched_wakeup") == [
        "sched:sched_wakeup",
        "",
        "comm : str",
        "    char[16]",
        "pid : int",
        "    int",
        "prio : int",
        "    int",
        "target_cpu : int",
        "    int",
    ]
    assert docstring(template, "test__event") == [
        "test:event",
        "",
        "name : str",
        "    __data_loc char[]",
        "state : int",
        "    int",
        "    one of:",
        "        -1 = GONE",
        "        1 = say 'hi' \\ \\n",
        "flags : int",
        "    unsigned long",
        "    flags, any of:",
        *(f"        {1 << bit:#x} = F{bit}" for bit in range(32)),
        "        and 8 more",
        "ip : int",
        "    void *, an address",
        "ok : int",
        "    bool, 0 or 1",
        "mask : bytes",
        "    cpumask_t",
        "list : bytes",
        "    __data_loc u16[], elements of 2 bytes, unsigned",
    ]


def test_it_runs_and_prints_something_useful(
    load_source: LoadSource, capsys: pytest.CaptureFixture[str]
) -> None:
    # GIVEN the template of two events, as a script
    schemas = [make_schema(), varied_schema()]
    script = load_source(script_template(schemas, COMMAND))
    assert script.warnings(schemas) == []
    # WHEN an event of each comes, and a loss
    message = pb.TraceResponse(
        batches=[make_batch(schemas[0], {"pid": 5}), make_batch(schemas[1], {"name": b"x"})],
        losses=[make_loss(3)],
    )
    stream = FakeStream(make_started(*schemas), [message])
    status = run_script(script, lambda: stream, RunOptions(quiet=True))
    # THEN
    assert status == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "tracing, Ctrl-C ends"
    assert "sched:sched_wakeup: " in lines[1]
    assert "test:event: " in lines[2]
    assert lines[3:] == ["2 events, 1 times some were lost"]
    for callback, printed in ((script.interval, "2 events so far\n"), (script.exit, None)):
        assert callback is not None
        callback()
        assert printed in (None, capsys.readouterr().out)
    assert script.print_stat is not None
    script.print_stat(4)
    assert capsys.readouterr().out.endswith("    2 events\n")


@pytest.mark.parametrize(
    "make",
    [
        lambda: script_template([], COMMAND),
        lambda: script_template([make_schema("test:empty", own=())], COMMAND),
        lambda: script_template([make_schema(alias="a-b.c")], "run -e 'x/comm==\"\n\\\"/'"),
        lambda: script_template([make_schema(), make_schema()], COMMAND),
    ],
)
def test_it_is_always_python(make: Callable[[], str]) -> None:
    template = make()
    compile(template, "template", "exec")
    names = [node.name for node in ast.parse(template).body if hasattr(node, "name")]
    assert len(names) == len(set(names))


def test_samples_have_members_and_chains() -> None:
    # GIVEN a tracepoint and a sampled event with stacks
    profile = make_sample_schema(
        members=(("ip", POINTER, 8), ("read", READ, 8), ("callchain", STACK, 4)),
        on_request=(("regs_user", REGS, 8),),
    )
    del profile.all_fields[2]
    template = script_template([make_schema(), profile], COMMAND)
    # THEN what all events have is told for each kind
    assert "# Fields of every event:\n#   event._pid, event._tid   process and" in template
    assert "# Fields of every sampled event:\n#   event._pid, event._tid   process and" in template
    assert '#   event._event             "profile"\n' in template
    # AND the members are the sampled event's own
    assert docstring(template, "profile") == [
        "profile",
        "",
        "ip : int",
        "    int, an address",
        "read : dict",
        "    int",
        "    value, time_enabled, time_running, id, lost: those that were asked for",
        "regs_user : dict",
        "    int, captured where a handler itself reads it",
        "    abi, and the registers by name where that is not 0",
        "callchain : list",
        "    frames, leaf first: dicts of addr, symbol, offset, kernel, dso",
    ]


def test_what_is_in_names_of_probes_ends_nothing() -> None:
    schema = make_schema('uprobe:operator""_x\\')
    template = script_template([schema], COMMAND)
    assert docstring(template, "uprobe__operator___x_")[0] == "uprobe:operator''_x\\"


def test_aliases_name_the_handlers() -> None:
    template = script_template([make_schema(alias="a-b.c")], COMMAND)
    assert docstring(template, "sched__a_b_c")[0] == "sched:a-b.c"
