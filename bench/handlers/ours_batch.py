"""ptrace-client: the same two fields from batches: the last time of each process."""

import json
import time

import numpy as np

count = 0
traced = False
seen = {}


def syscalls__sys_enter_getppid__batch(batch):
    global count
    count += len(batch)
    pids, times = batch["_pid"], batch["_time"]
    for pid in np.unique(pids).tolist():
        seen[pid] = int(times[pids == pid][-1])


def __interval__():  # noqa: N807
    global traced
    if not traced:
        traced = True
        print("ready", flush=True)


def __exit__():  # noqa: N807
    print(json.dumps({"count": count, "done": time.monotonic_ns()}))
