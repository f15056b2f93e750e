#!/usr/bin/env -S ptrace-client run -e 'page-faults/-g/'
"""Which functions touch memory that is not there yet, and how much of it.

A page fault is the kernel's work to provide a page of memory (4 KiB, mostly) when it
is first touched: filled with zeros, read from a file, or copied after fork(2). A row
is a function of a program, its caller, and how many faults it had on how many
different pages.

Many faults on different pages are memory in use for the first time: allocations
that come and go, or large files that are mapped. Many on the same pages are
memory that was given back and touched again. A function of the kernel (_[k]) touched
the memory of the program for it, such as for read(2).

    ptrace-client run @page-faults -p 4711 --duration 10
"""

import argparse

from ptrace_client.flame import frame_name
from ptrace_client.report import print_table

parser = argparse.ArgumentParser("ptrace-client run @page-faults --")
parser.add_argument("--rows", type=int, default=20, help="rows of the table")
options = parser.parse_args()

PAGE_SHIFT = 12
# Faults by task's name, function, caller and file; and the pages, as long as they are not many.
faults = {}
pages = {}
MOST = 50_000
MOST_PAGES = 1_000_000
seen = 0


def page_faults(event):
    global seen
    chain = event.callchain
    function, caller = (*map(frame_name, chain[:2]), "?", "?")[:2]
    file = chain[0]["dso"].rpartition("/")[2] if chain else "?"
    key = event._comm, function, caller, file
    if key not in faults and len(faults) >= MOST:
        key = "others", "?", "?", "?"
    faults[key] = faults.get(key, 0) + 1
    page = event._pid, event.addr >> PAGE_SHIFT
    known = pages.setdefault(key, set())
    if seen < MOST_PAGES and page not in known:
        seen += 1
        known.add(page)


def __exit__():
    more = "+" if seen == MOST_PAGES else ""
    rows = sorted(faults.items(), key=lambda row: -row[1])[: options.rows]
    print(f"{sum(faults.values())} page faults, on {seen}{more} pages")
    print_table(
        ("FAULTS", "PAGES", "COMM", "FUNCTION", "CALLER", "FILE"),
        [
            (count, len(pages[key]), comm, function, caller, file)
            for key, count in rows
            for comm, function, caller, file in [key]
        ],
    )
