"""Prints every tracepoint sample with all of its fields as a line of JSON. A script for perf."""

import json


def shown(value):
    """Text and numbers as they are, data as hexadecimal digits."""
    return {"hex": value.hex()} if isinstance(value, bytearray | bytes) else value


def trace_unhandled(event_name, context, fields, sample):
    """Print a sample."""
    common = [name for name in fields if name.startswith("common_")]
    own = {name: shown(value) for name, value in fields.items() if name not in common}
    system, _, name = event_name.partition("__")
    line = {
        "event": f"{system}:{name}",
        "time": fields["common_s"] * 1_000_000_000 + fields["common_ns"],
        "cpu": fields["common_cpu"],
        "pid": fields["common_pid"],
        "comm": fields["common_comm"],
        "fields": own,
    }
    print(json.dumps(line))
