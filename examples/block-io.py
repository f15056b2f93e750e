#!/usr/bin/env -S ptrace-client run -e block:block_rq_issue,block:block_rq_complete -i 1000
"""How long disks take for reads and writes.

From the moment that a request is given to the device to its completion: what the
device itself takes, without the time in the kernel's queues. Each second a line per
device and direction; a histogram of each direction stands at the end. Times are
microseconds, sizes KiB.

Two peaks in a histogram are often a cache that hits and one that misses; a disk is
busy rather than slow where times grow with the number of requests. Flushes count
as writes. Devices without requests of their own, such as dm and zram, do not
show.

    ptrace-client run @block-io -e 'block:block_rq_*/rwbs ~ "*S*"/'  # synchronous ones only
"""

import os

from ptrace_client.report import percentile, print_histogram

# Requests by device and sector: when they began (ns) and their size (bytes). Lost completions
# would leave some for ever.
under_way = {}
MOST = 100_000
# Of this second: durations in ns by device and direction, and bytes.
durations = {}
sizes = {}
histograms = {"read": {}, "write": {}}


def block__block_rq_issue(event):
    under_way[event.dev, event.sector] = (event._time, event.bytes)


def block__block_rq_complete(event):
    since, size = under_way.pop((event.dev, event.sector), (None, 0))
    if since is not None:
        what = event.dev, "read" if "R" in event.rwbs else "write"
        durations.setdefault(what, []).append(event._time - since)
        sizes[what] = sizes.get(what, 0) + size


def device_name(dev):
    # MINORBITS in include/linux/kdev_t.h.
    numbers = f"{dev >> 20}:{dev & 0xFFFFF}"
    try:
        return os.path.basename(os.readlink(f"/sys/dev/block/{numbers}"))
    except OSError:
        return numbers


def __interval__():
    for what, times in sorted(durations.items()):
        times.sort()
        half, most, last = percentile(times, 0.5), percentile(times, 0.99), times[-1]
        print(
            f"{device_name(what[0]):10} {what[1]:5} {len(times):6} requests {sizes[what] >> 10:8} KiB"
            f"   p50 {half / 1000:8.1f}   p99 {most / 1000:8.1f}   max {last / 1000:8.1f} us"
        )
        histogram = histograms[what[1]]
        for time in times:
            power = (time // 1000).bit_length()
            histogram[power] = histogram.get(power, 0) + 1
    durations.clear()
    sizes.clear()
    if len(under_way) > MOST:
        under_way.clear()


def __exit__():
    __interval__()
    for direction, histogram in histograms.items():
        if histogram:
            print(f"\n{direction}:")
            print_histogram(histogram, "us")
