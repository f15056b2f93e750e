"""Wakes a child COUNT times, each time on another CPU, for each line of its standard input.

A task that sleeps is moved by who wakes it, when its CPU is none of its own any more. It writes
a line when it is ready, and after each turn.
"""

from __future__ import annotations

import os
import sys


def sleep_and_answer(wake: int, answer: int) -> None:
    while os.read(wake, 1):
        os.write(answer, b"x")


def sleeps(task: int) -> bool:
    with open(f"/proc/{task}/stat") as file:
        return file.read().rpartition(") ")[2].startswith("S")


def main(count: int) -> None:
    wake, answer = os.pipe(), os.pipe()
    child = os.fork()
    if not child:
        os.close(wake[1])
        sleep_and_answer(wake[0], answer[1])
        return
    cpus = sorted(os.sched_getaffinity(0))
    print("ready", flush=True)
    for _ in sys.stdin:
        for turn in range(count):
            while not sleeps(child):
                pass
            os.sched_setaffinity(child, {cpus[turn % 2]})
            os.write(wake[1], b"x")
            os.read(answer[0], 1)
        print("done", flush=True)
    os.close(wake[1])
    os.waitpid(child, 0)


if __name__ == "__main__":
    main(int(sys.argv[1]))
