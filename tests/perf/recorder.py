"""Prints every callback of perf script's Python engine with its arguments as repr() shows them.

A script for both engines. An argument `functions` lets it ask perf_trace_context of each sample,
too. Events are unhandled when they are first seen; from then on a handler of their name takes
them, with the sample's dictionary in the end.
"""

import os
import sys

sys.path.append(os.environ["PERF_EXEC_PATH"] + "/scripts/python/Perf-Trace-Util/lib/Perf/Trace")

import perf_trace_context

FUNCTIONS = "functions" in sys.argv[1:]
LOCATED = "lines" in sys.argv[1:]


def show(name, *arguments):
    """Print a callback; write() since text of a recording need not be encodable."""
    line = f"{name} {arguments!r}\n"
    sys.stdout.write(line.encode("utf-8", "backslashreplace").decode())


def asked(context):
    """What the module's functions say of the sample."""
    if not FUNCTIONS:
        return ()
    answers = [perf_trace_context.perf_sample_insn(context)]
    if LOCATED:
        answers.append(perf_trace_context.perf_sample_srcline(context))
        answers.append(perf_trace_context.perf_sample_srccode(context))
    return answers


def common(context):
    """What only tracepoints have."""
    return (
        perf_trace_context.common_pc(context),
        perf_trace_context.common_flags(context),
        perf_trace_context.common_lock_depth(context),
    )


def handler_of(event, count):
    """Make a handler that takes `count` fields and the sample's dictionary."""
    names = ", ".join(f"f{number}" for number in range(count))
    behind = f"{names}, " if names else ""
    source = (
        f"lambda event, context, cpu, s, ns, pid, comm, chain, {behind}sample:"
        f" show(event, cpu, s, ns, pid, comm, chain, {behind}sample, common(context),"
        " asked(context))"
    )
    return eval(source)


def trace_begin():
    show("trace_begin", sys.argv[1:], __name__, perf_script_context is None)  # noqa: F821


def trace_end():
    show("trace_end")


def trace_unhandled(event_name, context, fields, sample):
    show("trace_unhandled", event_name, fields, sample, common(context), asked(context))
    globals()[event_name] = handler_of(event_name, len(fields) - 6)


def process_event(param_dict):
    show("process_event", param_dict, asked(perf_script_context))  # noqa: F821


def taker(name):
    return lambda *arguments: show(name, *arguments)


for _name in (
    "define_flag_field",
    "define_flag_value",
    "define_symbolic_field",
    "define_symbolic_value",
    "context_switch",
    "auxtrace_error",
    "throttle",
    "unthrottle",
    "stat__cycles",
    "stat__cycles_u",
    "stat__instructions",
    "stat__context-switches",
    "stat__interval",
):
    globals()[_name] = taker(_name)
