#!/usr/bin/env -S ptrace-client run -e sched:sched_wakeup*,sched:sched_switch,sched:sched_migrate_task -i 1000
"""How many tasks wait for each CPU, exactly, over time.

A task waits while it could run and another one does. Each second a line per CPU
tells how many waited on average and at most, and for how much of the second any
did; at the end stands for how long there were 0, 1, 2 or 3, ... of them.

A CPU that is busy with one task has nobody waiting, so this shows saturation,
not utilization: an average above 0 is time that somebody lost. Several CPUs
with very different averages tell of affinities, or of a slow load balancer.

What waits when tracing begins is seen once it was switched to.
"""

from ptrace_client.report import print_table

# TASK_REPORT_MAX: the task was preempted. TASK_RUNNING is 0.
PREEMPTED = 0x100
MOST = 100_000
# By powers of two: "0", "1", "2-3", "4-7", ...
RANGES = ["0", "1", *(f"{1 << power}-{(2 << power) - 1}" for power in range(1, 32))]
# The CPU that a task waits for, and the task that a CPU runs.
waiting = {}
running = {}


class Queue:
    """The tasks that wait for one CPU: how many, and for how long there were how many, ns."""

    def __init__(self, time):
        self.length = 0
        self.since = time
        self.spent = {}
        self.total = {}

    def change(self, by, time):
        """Count the time since the last change, and change the length."""
        # Events of different CPUs that happen at once may come in either order.
        if time > self.since:
            self.spent[self.length] = self.spent.get(self.length, 0) + time - self.since
            self.since = time
        self.length += by


queues = {}
now = 0


def enter(pid, cpu, time):
    # A task may be woken before it went to sleep: it runs on. And of a CPU none of whose
    # switches was seen yet, it would not be seen either that the task no longer waits.
    if running.get(cpu, pid) == pid:
        return
    leave(pid, time)
    waiting[pid] = cpu
    queue(cpu, time).change(1, time)


def leave(pid, time):
    cpu = waiting.pop(pid, None)
    if cpu is not None:
        queue(cpu, time).change(-1, time)


def queue(cpu, time):
    if cpu not in queues:
        queues[cpu] = Queue(time)
    return queues[cpu]


def sched__sched_wakeup(event):
    enter(event.pid, event.target_cpu, event._time)


def sched__sched_wakeup_new(event):
    enter(event.pid, event.target_cpu, event._time)


def sched__sched_migrate_task(event):
    if event.pid in waiting:
        enter(event.pid, event.dest_cpu, event._time)


def sched__sched_switch(event):
    global now
    now = event._time
    running[event._cpu] = event.next_pid
    leave(event.next_pid, now)
    if event.prev_pid and event.prev_state in (0, PREEMPTED):
        enter(event.prev_pid, event._cpu, now)
    else:
        leave(event.prev_pid, now)


def __lost__(start, end):
    forget()


def forget():
    waiting.clear()
    for each in queues.values():
        each.length = 0


def summarize():
    for cpu in sorted(queues):
        each = queues[cpu]
        each.change(0, now)
        time = sum(each.spent.values())
        if time:
            average = sum(length * spent for length, spent in each.spent.items()) / time
            some = 100 * (1 - each.spent.get(0, 0) / time)
            print(
                f"CPU {cpu:3}   waiting: average {average:6.2f}   most {max(each.spent):4}   "
                f"some {some:5.1f} %"
            )
        for length, spent in each.spent.items():
            each.total[length] = each.total.get(length, 0) + spent
        each.spent = {}


def __interval__():
    summarize()
    if len(waiting) > MOST:
        forget()


def __exit__():
    summarize()
    total = {}
    for each in queues.values():
        for length, spent in each.total.items():
            power = length.bit_length()
            total[power] = total.get(power, 0) + spent
    print_table(
        ("WAITING", "CPU-MS", "PERCENT"),
        [
            (RANGES[power], total[power] / 1e6, 100 * total[power] / sum(total.values()))
            for power in sorted(total)
        ],
    )
