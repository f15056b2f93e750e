"""Prints every row that a script gets which asks for an export to a database.

A script for both engines: arguments are `calls` and `callchains`.
"""

import sys

perf_db_export_mode = True
perf_db_export_calls = "calls" in sys.argv[1:]
perf_db_export_callchains = "callchains" in sys.argv[1:]


def printer(table):
    return lambda *columns: print(table, columns)


for _name in (
    "evsel",
    "machine",
    "thread",
    "comm",
    "comm_thread",
    "dso",
    "symbol",
    "branch_type",
    "sample",
    "call_path",
    "call_return",
    "context_switch",
):
    globals()[f"{_name}_table"] = printer(_name)
synth_data = printer("synth_data")
process_event = printer("process_event")
context_switch = printer("context_switch")


def trace_begin():
    print("begin")


def trace_end():
    print("end")


def trace_unhandled(event_name, context, fields):
    print(event_name)
