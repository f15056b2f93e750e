"""perf script: how long events take to their handler; perf has stamped them by `-k mono`."""

import json
import time

delays = []


def syscalls__sys_enter_getppid(
    event_name,
    context,
    common_cpu,
    common_secs,
    common_nsecs,
    common_pid,
    common_comm,
    common_callchain,
    __syscall_nr,
    perf_sample_dict,
):
    delays.append(time.monotonic_ns() - common_secs * 1_000_000_000 - common_nsecs)


def trace_end():
    print(json.dumps({"count": len(delays), "delays": delays}))
