"""BCC's own Python callback: `bcc_callback.py {perf,ring} {count,fields,latency}`."""

import json
import signal
import sys
import time

from bcc import BPF

TEXT = """
struct event {
    u64 time;
    u32 pid;
};
TABLE;
TRACEPOINT_PROBE(syscalls, sys_enter_getppid)
{
    struct event event = {};

    event.time = bpf_ktime_get_ns();
    event.pid = bpf_get_current_pid_tgid() >> 32;
    SUBMIT;
    return 0;
}
"""
# A ring buffer has no default size; 256 pages are 1 MiB.
BUFFERS = {
    "perf": ("BPF_PERF_OUTPUT(events)", "events.perf_submit(args, &event, sizeof(event))"),
    "ring": ("BPF_RINGBUF_OUTPUT(events, 256)", "events.ringbuf_output(&event, sizeof(event), 0)"),
}

buffer, handler = sys.argv[1:]
count = 0
seen = {}
delays = []
stopped = False


def count_events(cpu, data, size):
    global count
    count += 1


def two_fields(cpu, data, size):
    global count
    count += 1
    event = decode(data)
    seen[event.pid] = event.time


def latency(cpu, data, size):
    delays.append(time.monotonic_ns() - decode(data).time)


def stop(signal_number, frame):
    global stopped
    stopped = True


signal.signal(signal.SIGINT, stop)
table, submit = BUFFERS[buffer]
program = BPF(text=TEXT.replace("TABLE", table).replace("SUBMIT", submit))
decode = program["events"].event
callback = {"count": count_events, "fields": two_fields, "latency": latency}[handler]
if buffer == "perf":
    program["events"].open_perf_buffer(callback)
    poll = program.perf_buffer_poll
else:
    program["events"].open_ring_buffer(callback)
    poll = program.ring_buffer_poll
print("ready", flush=True)
while not stopped:
    poll(timeout=100)
# What came before the signal, and is still in the buffers.
poll(timeout=0)
poll(timeout=0)
done = time.monotonic_ns()
print(json.dumps({"count": count or len(delays), "done": done, "delays": delays}))
