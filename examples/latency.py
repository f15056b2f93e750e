#!/usr/bin/env -S ptrace-client run -e sched:sched_wakeup,sched:sched_switch -i 1000
"""How long tasks wait for a CPU after they were woken.

A task that is woken can run; how long it takes until it does is the scheduler's
latency. Each second a line tells of the second gone by, and a histogram over all
of the run stands at the end. Times are microseconds.
"""

woken = {}
waits = []
histogram = {}


def sched__sched_wakeup(event):
    woken[event.pid] = event._time


def sched__sched_switch(event):
    since = woken.pop(event.next_pid, None)
    if since is not None:
        waits.append((event._time - since) / 1000)


def summarize():
    if not waits:
        return
    waits.sort()
    half, most = waits[len(waits) // 2], waits[int(len(waits) * 0.99)]
    print(f"{len(waits):6} wake-ups   p50 {half:8.1f}   p99 {most:8.1f}   max {waits[-1]:8.1f} us")
    for wait in waits:
        power = int(wait).bit_length()
        histogram[power] = histogram.get(power, 0) + 1
    waits.clear()


def __interval__():
    summarize()


def __exit__():
    summarize()
    largest = max(histogram.values(), default=0)
    for power in range(max(histogram, default=-1) + 1):
        count = histogram.get(power, 0)
        bar = "#" * (count * 50 // largest)
        print(f"{(1 << power) >> 1:8} us {count:8} |{bar}")
