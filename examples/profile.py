#!/usr/bin/env -S ptrace-client run -e 'profile/-F 99 -g/'
"""Where CPUs spend their time: 99 samples a second on each, by stack.

Prints folded stacks, "task;caller;...;function SAMPLES", which flame graph tools take,
or draws them here, the outermost callers on top:

    ptrace-client run @profile --duration 10 > stacks; flamegraph.pl stacks > stacks.svg
    ptrace-client run @profile -p 4711 --duration 10 --flame

A function is as wide as the share of samples that it, or what it called, was running
in. Idle CPUs are not sampled. Functions of the kernel end with _[k]. User stacks are
followed by frame pointers: in programs built without them, callers are missing or
wrong; Python's own functions show with -X perf and --python-callchain.

For more detail: -e 'profile/-F 999 -g/'.
"""

import argparse

from ptrace_client.flame import FoldedStacks, fold

parser = argparse.ArgumentParser("ptrace-client run @profile --")
parser.add_argument("--flame", action="store_true", help="draw a flame graph")
parser.add_argument("--width", type=int, default=100, help="its width in characters")
options = parser.parse_args()

# Task 0 is what a CPU runs that has nothing to do.
IDLE = 0
stacks = FoldedStacks()


def profile(event):
    if event._tid != IDLE:
        stacks.add((event._comm, *fold(event.callchain)))


def __exit__():
    for line in stacks.draw(options.width) if options.flame else stacks.lines():
        print(line)
