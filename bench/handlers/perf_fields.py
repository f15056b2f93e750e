"""perf script: reads two fields of each event and updates a dict."""

import json

count = 0
seen = {}


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
    seen[common_pid] = common_secs * 1_000_000_000 + common_nsecs


def trace_end():
    print(json.dumps({"count": count}))
