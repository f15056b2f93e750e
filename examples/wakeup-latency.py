#!/usr/bin/env -S ptrace-client run -e sched:sched_wakeup*,sched:sched_switch -i 1000
"""How long tasks wait for a CPU after they were woken.

A task that is woken can run; how long it takes until it does is the scheduler's
latency. Each second a line tells of the wake-ups of that second, and which task
waited longest; a histogram over all of the run stands at the end. Times are
microseconds.

High values mean that CPUs are busy (see run-queue), or that something keeps the
scheduler from running, such as long work in interrupts. For tasks of one name:

    ptrace-client run @wakeup-latency -e 'sched:sched_wakeup*/comm=="nginx"/' \
        -e 'sched:sched_switch/prev_comm=="nginx"||next_comm=="nginx"/'

-p is of no use here: it selects the task that wakes the other one.
"""

from ptrace_client.report import one_line, percentile, print_histogram

# Tasks that wait, and since when, ns. Those whose switch was lost stay: see __interval__.
woken = {}
MOST = 100_000
waits = []
longest = 0
who = ""
histogram = {}


def sched__sched_wakeup(event):
    woken[event.pid] = event._time


def sched__sched_wakeup_new(event):
    woken[event.pid] = event._time


def sched__sched_switch(event):
    global longest, who
    # Some tasks are woken before they went to sleep: they ran all the time.
    woken.pop(event.prev_pid, None)
    since = woken.pop(event.next_pid, None)
    if since is not None:
        wait = event._time - since
        waits.append(wait)
        if wait > longest:
            longest = wait
            who = one_line(event.next_comm)


def summarize():
    global longest, who
    if not waits:
        return
    waits.sort()
    half, most = percentile(waits, 0.5) / 1000, percentile(waits, 0.99) / 1000
    print(
        f"{len(waits):6} wake-ups   p50 {half:8.1f}   p99 {most:8.1f}   "
        f"max {longest / 1000:8.1f} us   {who}"
    )
    for wait in waits:
        power = (wait // 1000).bit_length()
        histogram[power] = histogram.get(power, 0) + 1
    waits.clear()
    longest, who = 0, ""


def __interval__():
    summarize()
    if len(woken) > MOST:
        woken.clear()


def __exit__():
    summarize()
    print_histogram(histogram, "us")
