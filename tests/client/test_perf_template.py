"""Starter scripts in perf script's dialect."""

from __future__ import annotations

import ast
from dataclasses import replace

import pytest
from test_perf_defines import event

from ptrace_client.perf_script.template import schema_formats, starter_script
from ptrace_formats.event_format import EventFormat
from ptrace_formats.field_info import field_info
from ptrace_proto import ptrace_pb2 as pb


def handler_of(format: EventFormat) -> str:
    """The text of an event's handler up to what is the same for all."""
    script = starter_script([format])
    ast.parse(script)
    return script.partition("def s__")[2].partition("\t\tprint('Sample")[0]


def test_a_field_with_names_starts_a_line() -> None:
    format = event(
        '"%s", __print_flags(REC->f, "", { 1, "A" })',
        *("u64 a", "u64 b", "char c[8]", "u64 d", "u64 f", "u64 g"),
    )
    assert handler_of(format) == (
        "made(event_name, context, common_cpu,\n"
        "\tcommon_secs, common_nsecs, common_pid, common_comm,\n"
        "\tcommon_callchain, a, b, c, d, \n"
        "\tf, g, perf_sample_dict):\n"
        "\t\tprint_header(event_name, common_cpu, common_secs, common_nsecs,\n"
        "\t\t\tcommon_pid, common_comm)\n\n"
        '\t\tprint("a=%u, b=%u, c=%s, " \\\n'
        '\t\t"d=%u, f=%s, g=%u" % \\\n'
        "\t\t(a, b, c, d, \n\t\t\n"
        '\t\tflag_str("s__made", "f", f), \n'
        "\t\tg))\n\n"
    )


def test_names_that_python_does_not_take_get_an_underscore() -> None:
    handler = handler_of(event('""', "u64 from", "u64 context", "u64 print", "u64 from_"))
    assert "common_callchain, from_, context_, print_, from__, \n\t\tperf_sample_dict" in handler
    assert '"from=%u, context=%u, print=%u' in handler


@pytest.mark.parametrize("system", ["my-system", 'a"); exit(1); ("', "9lives", "\udc80", "²"])
def test_a_system_that_is_no_name_is_bound_under_its_own(system: str) -> None:
    format = event('"%s", __print_flags(REC->a, "", { 1, "A" })', "u64 a")
    script = starter_script([replace(format, system=system)])
    # Nothing but the handler is named by it.
    scope: dict[str, object] = {"globals": lambda: scope}
    handler = script[script.index("def _") : script.index("def trace_unhandled")]
    exec(handler.encode().decode(), scope)
    assert callable(scope[f"{system}__made"])


def test_events_stand_in_the_order_of_their_ids() -> None:
    one, other = event('""', name="one"), event('""', name="other")
    script = starter_script([one, replace(other, id=3)])
    assert script.index("def s__other") < script.index("def s__one")


def test_sampled_events_have_a_function_of_their_own() -> None:
    assert "def process_event(param_dict)" in starter_script([], sampled=True)
    assert "def process_event" not in starter_script([])


def test_a_daemons_schemas_make_the_same_script() -> None:
    format = event(
        '"%s", __print_symbolic(REC->y, { 1, "A" })', "s64 x", "u32 y", "__data_loc char[] z"
    )
    schema = pb.EventSchema(
        system=format.system,
        name=format.name,
        common_type=format.id,
        all_fields=[field_info(field, None) for field in format.fields],
        print_fmt=format.print_fmt,
    )
    sampled = pb.EventSchema(name="profile", source=pb.EVENT_SOURCE_SAMPLE)
    [made] = schema_formats([schema, sampled])
    assert starter_script([made]) == starter_script([format])
