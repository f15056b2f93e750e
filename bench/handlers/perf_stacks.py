"""perf script: counts call stacks by the names of their functions."""

import json
from collections import Counter

stacks = Counter()


def process_event(event):
    names = [entry["sym"]["name"] if "sym" in entry else "?" for entry in event["callchain"]]
    stacks[event["comm"], ";".join(names)] += 1


def trace_end():
    print(json.dumps({"count": stacks.total()}))
