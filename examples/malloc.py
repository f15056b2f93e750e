#!/usr/bin/env -S ptrace-client run -e 'uprobe:malloc@"libc.so.6"' -i 1000
"""How much memory programs ask malloc() for, in calls and bytes, by process.

Each second a line with the calls of that second; at the end a table of processes,
those that asked for most first, and a histogram of the sizes. It is what was asked
for, not what is in use: nothing is subtracted for free().

A probe of a program costs it a trap into the kernel, about a microsecond a call: a
program that lives off malloc() gets slower while it is looked at.

    ptrace-client run @malloc -p 4711 --duration 10
    ptrace-client run @malloc -e 'uprobe:malloc@"/usr/lib/libjemalloc.so.2"'

The handler gets arrays of events (a batch handler), as these are many.
"""

import numpy as np

from ptrace_client.report import print_histogram, print_table

BITS = 64
# Calls and bytes by pid and name of the process.
asked = {}
MOST = 100_000
powers = np.zeros(BITS + 1, np.int64)
calls = size = 0


def uprobe__malloc__batch(batch):
    global calls, size
    # With debug symbols of the C library the argument has its name from there.
    sizes = batch["bytes"] if "bytes" in batch.dtype.names else batch["arg1"]
    sizes = sizes.astype(np.uint64)
    calls += len(batch)
    size += int(sizes.sum())
    powers[:] += np.bincount(np.frexp(sizes.astype(float))[1], minlength=BITS + 1)
    for pid in np.unique(batch["_pid"]):
        own = batch["_pid"] == pid
        key = int(pid), batch["_comm"][own][0].decode(errors="replace")
        if key not in asked and len(asked) >= MOST:
            key = 0, "others"
        total = asked.setdefault(key, [0, 0])
        total[0] += int(own.sum())
        total[1] += int(sizes[own].sum())


def __interval__():
    global calls, size
    print(f"{calls:8} calls {size / 1024:12.1f} KiB")
    calls = size = 0


def __exit__():
    if calls:
        __interval__()
    rows = sorted(asked.items(), key=lambda row: -row[1][1])[:20]
    print_table(
        ("PID", "COMM", "CALLS", "KIB", "AVERAGE-B"),
        [(pid, comm, count, total / 1024, total / count) for (pid, comm), (count, total) in rows],
    )
    print_histogram({power: int(count) for power, count in enumerate(powers) if count}, "B ")
