"""perf script: counts events."""

import json

count = 0


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
    global count
    count += 1


def trace_end():
    print(json.dumps({"count": count}))
