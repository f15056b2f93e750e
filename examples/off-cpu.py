#!/usr/bin/env -S ptrace-client run -e sched:sched_switch//stack/
"""Where tasks sleep, and for how long: microseconds off the CPU by stack.

Prints folded stacks, "task;caller;...;function MICROSECONDS", which flame graph
tools take, or draws them here:

    ptrace-client run @off-cpu --duration 5 > stacks; flamegraph.pl stacks > stacks.svg
    ptrace-client run @off-cpu --duration 5 --flame

A stack is where a task stopped running; its time is until it ran again, waiting for
a CPU included. Only waits that ended are counted. Of tasks that were preempted
that is time lost to others (see @run-queue); --blocked leaves them out. --comm shows
tasks of one name; a filter makes that cheap on busy machines:

    ptrace-client run @off-cpu --comm nginx \
        -e 'sched:sched_switch/prev_comm=="nginx"||next_comm=="nginx"/stack/'

-p would miss where waits end: at that moment another task is the current one.
"""

import argparse

from ptrace_client.flame import FoldedStacks, fold

parser = argparse.ArgumentParser("ptrace-client run @off-cpu --")
parser.add_argument("--flame", action="store_true", help="draw a flame graph")
parser.add_argument("--width", type=int, default=100, help="its width in characters")
parser.add_argument("--blocked", action="store_true", help="no tasks that were preempted")
parser.add_argument("--comm", help="only tasks of this name")
options = parser.parse_args()

# TASK_REPORT_MAX: the task was preempted. TASK_RUNNING is 0.
PREEMPTED = 0x100
# Tasks off the CPU: since when, ns, and the stack. Lost switches would leave some for ever.
sleeping = {}
MOST = 100_000
stacks = FoldedStacks()


def sched__sched_switch(event):
    now = event._time
    since, stack = sleeping.pop(event.next_pid, (0, ()))
    if stack:
        stacks.add(stack, (now - since) // 1000)
    # Every CPU has an idle task 0.
    if not event.prev_pid or (options.comm and event.prev_comm != options.comm):
        return
    if options.blocked and event.prev_state in (0, PREEMPTED):
        return
    if len(sleeping) > MOST:
        sleeping.clear()
    sleeping[event.prev_pid] = (now, (event.prev_comm, *fold(event._callchain)))


def __exit__():
    for line in stacks.draw(options.width) if options.flame else stacks.lines():
        print(line)
