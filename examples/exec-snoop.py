#!/usr/bin/env -S ptrace-client run -e sched:sched_process_fork,sched:sched_process_exit,sched:sched_process_exec
"""Which programs are started, by whom, and how long they ran.

A line when a program is started, and one when its process ends: programs that
live too briefly for `top` to show are often what keeps a machine busy. MS is the time
since the start, in milliseconds; the parent is the process that forked.

    ptrace-client run @exec-snoop
    ptrace-client run @exec-snoop --starts

-p follows the children of a process, such as those of a shell: -p $$. A process
that starts one program after another has a line for each, and ends once. Failed
attempts to start a program are no events here; see @syscalls for execve.
"""

import argparse
import time

from ptrace_client.report import one_line

parser = argparse.ArgumentParser("ptrace-client run @exec-snoop --")
parser.add_argument("--starts", action="store_true", help="do not show when programs end")
options = parser.parse_args()

# Of processes that were forked: the parent's pid. Of those that were seen to start a program:
# when, and its file. Lost exits would leave some for ever.
parents = {}
started = {}
MOST = 100_000


def __init__():
    print("TIME         PID  PARENT   WHAT         MS  FILE")


def show(event, what, milliseconds, file):
    clock = time.strftime("%H:%M:%S", time.localtime(event._realtime // 1_000_000_000))
    parent = parents.get(event._pid, "?")
    print(f"{clock} {event._pid:7} {parent:>7}   {what:5} {milliseconds:>9}  {one_line(file)}")


def sched__sched_process_fork(event):
    if len(parents) > MOST:
        parents.clear()
        started.clear()
    parents[event.child_pid] = event._pid


def sched__sched_process_exec(event):
    show(event, "start", "", event.filename)
    started[event._pid] = (event._time, event.filename)


def sched__sched_process_exit(event):
    # A process ends with its first thread, as a rule; the others have no children of their own.
    if event._tid in started and not options.starts:
        since, file = started[event._tid]
        show(event, "end", f"{(event._time - since) / 1e6:.1f}", file)
    started.pop(event._tid, None)
    parents.pop(event._tid, None)
