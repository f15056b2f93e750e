#!/usr/bin/env -S ptrace-client run -e 'syscalls:sys_enter_futex/(op & 127) == 0 || (op & 127) == 9/stack/,syscalls:sys_exit_futex'
"""Which locks threads wait for: how often, how long, and where in the program.

Locks and condition variables of user space enter the kernel only to wait, by
futex(2). A row is a lock (its address) of a process and the function that waited
for it, by the total time that threads waited.

Threads that have nothing to do wait as well, for work: long waits of a pool's
workers are no contention. What matters is many short waits on one address, from
functions that should not have to wait. The function is the innermost one outside
of the C library; "?" where the stack cannot be followed, as in programs built
without frame pointers.

    ptrace-client run @futex -p 4711 --duration 10
"""

import argparse

from ptrace_client.flame import frame_name
from ptrace_client.report import print_table

parser = argparse.ArgumentParser("ptrace-client run @futex --")
parser.add_argument("--rows", type=int, default=20, help="rows of the table")
options = parser.parse_args()

# Files whose functions are not the program's own.
LIBRARIES = ("libc.so", "libc-", "libpthread", "ld-linux")
# Waits by thread, and by process, name, address and function: count, total and longest, ns.
waiting = {}
waits = {}
MOST = 50_000


def caller(callchain):
    for frame in callchain:
        name = frame["dso"].rpartition("/")[2]
        if not frame["kernel"] and not name.startswith(LIBRARIES):
            return frame_name(frame) if frame["symbol"] != "Unknown" else "?"
    return "?"


def syscalls__sys_enter_futex(event):
    if len(waiting) > MOST:
        waiting.clear()
    key = event._pid, event._comm, event.uaddr, caller(event._callchain)
    waiting[event._tid] = (event._time, key)


def syscalls__sys_exit_futex(event):
    since, key = waiting.pop(event._tid, (None, None))
    if since is None:
        return
    if key not in waits and len(waits) >= MOST:
        key = (0, "others", 0, "?")
    took = event._time - since
    count, total, longest = waits.get(key, (0, 0, 0))
    waits[key] = (count + 1, total + took, max(longest, took))


def __exit__():
    rows = sorted(waits.items(), key=lambda row: -row[1][1])[: options.rows]
    print_table(
        ("PID", "COMM", "ADDRESS", "WAITS", "TOTAL-MS", "AVERAGE-US", "MAX-US", "FUNCTION"),
        [
            (pid, comm, hex(address), count, total / 1e6, total / count / 1000, most / 1000, where)
            for (pid, comm, address, where), (count, total, most) in rows
        ],
    )
