#!/usr/bin/env -S ptrace-client run -e raw_syscalls:sys_enter,raw_syscalls:sys_exit -i 1000
"""Which system calls are made how often, how long they take, and how many fail.

A table at the end has the calls in which most time passed, waiting included: a
`poll` of a second is a second. Times are microseconds; p99 is the upper end of the
power of two that 99 of 100 calls stay below. Calls that do not return, such as
`exit`, and those under way at either end are not counted.

    ptrace-client run @syscalls -p 4711 --duration 10
    ptrace-client run @syscalls --duration 10 --rows 50

Names are those of this machine's 64-bit calls. The handlers get arrays of events
(batch handlers), as there can be millions of system calls in a second.
"""

import argparse

import numpy as np

from ptrace_client.report import print_table
from ptrace_client.syscall_names import syscall_name

parser = argparse.ArgumentParser("ptrace-client run @syscalls --")
parser.add_argument("--rows", type=int, default=20, help="rows of the table")
options = parser.parse_args()

# More calls than any architecture has, and bits of a duration in ns.
CALLS, BITS = 1024, 64
# Threads that ended in a call are forgotten when there are so many.
MOST = 100_000
EVENT = np.dtype([("tid", "i8"), ("time", "i8"), ("id", "i8"), ("ret", "i8"), ("exit", "?")])
gathered = []
under_way = np.empty(0, EVENT)
count = np.zeros(CALLS, np.int64)
failed = np.zeros(CALLS, np.int64)
total = np.zeros(CALLS, np.int64)
most = np.zeros(CALLS, np.int64)
powers = np.zeros((CALLS, BITS), np.int64)
lost = 0


def raw_syscalls__sys_enter__batch(batch):
    global lost
    events = np.zeros(len(batch), EVENT)
    events["tid"], events["time"], events["id"] = batch["_tid"], batch["_time"], batch["id"]
    gathered.append(events)
    lost += batch.lost


def raw_syscalls__sys_exit__batch(batch):
    global lost
    events = np.zeros(len(batch), EVENT)
    events["tid"], events["time"], events["id"] = batch["_tid"], batch["_time"], batch["id"]
    events["ret"], events["exit"] = batch["ret"], True
    gathered.append(events)
    lost += batch.lost


def __interval__():
    """Pair each exit with the enter just before it in its thread, and count them."""
    global under_way
    events = np.concatenate([under_way, *gathered])
    gathered.clear()
    events = events[np.lexsort((events["time"], events["tid"]))]
    before, after = events[:-1], events[1:]
    pairs = (before["tid"] == after["tid"]) & (before["id"] == after["id"])
    pairs &= ~before["exit"] & after["exit"] & (after["id"] >= 0) & (after["id"] < CALLS)
    tally(after["id"][pairs], after["time"][pairs] - before["time"][pairs], after["ret"][pairs])
    # The last event of a thread, if it is an enter.
    last = np.append(before["tid"] != after["tid"], True)[: len(events)]
    under_way = events[last & ~events["exit"]]
    if len(under_way) > MOST:
        under_way = under_way[under_way["time"].argsort()[-MOST // 2 :]]


def tally(calls, took, ret):
    np.add.at(count, calls, 1)
    # -MAX_ERRNO in include/linux/err.h.
    np.add.at(failed, calls, (ret < 0) & (ret >= -4095))
    np.add.at(total, calls, took)
    np.maximum.at(most, calls, took)
    np.add.at(powers, (calls, np.frexp(took)[1]), 1)


def __exit__():
    __interval__()
    order = [int(call) for call in total.argsort()[::-1][: options.rows] if count[call]]
    shares = powers.cumsum(axis=1) >= 0.99 * count[:, None]
    print(f"{count.sum()} system calls, {lost} events lost")
    print_table(
        ("CALL", "COUNT", "FAILED", "TOTAL-MS", "AVERAGE-US", "P99-US", "MAX-US"),
        [
            (
                syscall_name(call),
                int(count[call]),
                int(failed[call]),
                total[call] / 1e6,
                total[call] / count[call] / 1000,
                min(2.0 ** int(shares[call].argmax()), most[call]) / 1000,
                most[call] / 1000,
            )
            for call in order
        ],
    )
