#!/usr/bin/env -S ptrace-client run -e 'syscalls:sys_enter_openat*//str=filename/alias=enter/,syscalls:sys_exit_openat*//alias=leave/'
"""Which files are opened, by whom, and which are looked for in vain.

A line per call of openat(2) or openat2(2): the descriptor that it returned, or why
it failed. Names are as the program gave them: relative ones count from its
current folder, or from the folder that it named by a descriptor.

    ptrace-client run @opens -p 4711
    ptrace-client run @opens --failed

"(fault)" stands for a name in memory that was not there when the call began, and
names of more than 256 bytes end with "...". open(2), which few programs still call,
can be added with -e syscalls:sys_enter_open//str=filename/alias=enter/ and its exit.
"""

import argparse
import errno
import time

from ptrace_client.report import one_line

parser = argparse.ArgumentParser("ptrace-client run @opens --")
parser.add_argument("--failed", action="store_true", help="show only what failed")
options = parser.parse_args()

# Names by thread, of calls that are under way. Lost exits would leave some for ever.
names = {}
MOST = 100_000


def __init__():
    print("TIME         PID  COMM             RESULT   FILE")


def enter(event):
    if len(names) > MOST:
        names.clear()
    names[event._tid] = event.filename


def leave(event):
    name = names.pop(event._tid, None)
    result = event.ret
    if name is None or (options.failed and result >= 0):
        return
    clock = time.strftime("%H:%M:%S", time.localtime(event._realtime // 1_000_000_000))
    shown = str(result) if result >= 0 else errno.errorcode.get(-result, str(result))
    print(f"{clock} {event._pid:7}  {one_line(event._comm):16} {shown:8} {one_line(name)}")
