"""Prints where each sample lies, with its chain, a JSON line each. A script for both engines.

With an argument, its instruction and its line of the source, too.
"""

import json
import os
import sys

sys.path.append(os.environ["PERF_EXEC_PATH"] + "/scripts/python/Perf-Trace-Util/lib/Perf/Trace")

from perf_trace_context import perf_sample_insn, perf_sample_srccode, perf_sample_srcline

KEYS = ("comm", "dso", "dso_bid", "dso_map_start", "dso_map_end", "symbol", "symoff", "callchain")


def process_event(event):
    line = {key: event[key] for key in KEYS if key in event}
    sample = event["sample"]
    line.update((key, sample[key]) for key in sample if key.startswith("addr"))
    line.update((key, sample[key]) for key in ("pid", "tid", "ip", "cpumode"))
    if len(sys.argv) > 1:
        instruction = perf_sample_insn(perf_script_context)  # noqa: F821
        line["insn"] = instruction and instruction.hex()
        line["srcline"] = perf_sample_srcline(perf_script_context)  # noqa: F821
        line["srccode"] = perf_sample_srccode(perf_script_context)  # noqa: F821
    print(json.dumps(line))


def trace_unhandled(name, context, fields, sample):
    process_event(sample)
