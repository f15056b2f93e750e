"""Prints where each sample lies, with its chain, a JSON line each. A script for both engines."""

import json

KEYS = ("comm", "dso", "dso_bid", "dso_map_start", "dso_map_end", "symbol", "symoff", "callchain")


def process_event(event):
    line = {key: event[key] for key in KEYS if key in event}
    sample = event["sample"]
    line.update((key, sample[key]) for key in sample if key.startswith("addr"))
    line.update((key, sample[key]) for key in ("pid", "tid", "ip", "cpumode"))
    print(json.dumps(line))


def trace_unhandled(name, context, fields, sample):
    process_event(sample)
