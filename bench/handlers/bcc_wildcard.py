"""BCC with a function on each syscalls:sys_enter_*; ends after a line of standard input."""

import sys
from pathlib import Path

from bcc import BPF

FUNCTION = """
int on_NAME(void *context)
{
    u64 time = bpf_ktime_get_ns();

    events.perf_submit(context, &time, sizeof(time));
    return 0;
}
"""
names = [path.name for path in Path("/sys/kernel/tracing/events/syscalls").glob("sys_enter_*")]
functions = "".join(FUNCTION.replace("NAME", name) for name in names)
program = BPF(text="BPF_PERF_OUTPUT(events);\n" + functions)
for name in names:
    program.attach_tracepoint(f"syscalls:{name}", fn_name=f"on_{name}")
program["events"].open_perf_buffer(lambda cpu, data, size: None)
print("ready", flush=True)
sys.stdin.readline()
