#!/usr/bin/env -S ptrace-client run -e 'sock:inet_sock_set_state/protocol==6/,tcp:tcp_retransmit_skb'
"""TCP connections made, accepted, failed, closed, and what had to be sent again.

A line for each, with the time in milliseconds that connecting took, or that the
connection was open; at the end a table of remote hosts, those with the most
retransmissions first. These tell of a bad network: below one in a thousand
segments is usual. The process is known of connections that were made while
tracing; all else TCP does mostly in the name of whoever happens to run.

    ptrace-client run @tcp
    ptrace-client run @tcp -e 'sock:inet_sock_set_state/protocol==6&&dport==443/'

-p selects by that process, too, so filters by port are of more use. A connection
within this host shows twice, once from either end.
"""

import socket
import time

from ptrace_client.report import one_line, print_table

# include/net/tcp_states.h
ESTABLISHED, SYN_SENT, SYN_RECV, CLOSE = 1, 2, 3, 7
# Sockets by address: when the last change was (ns), the process, and whether it is open.
sockets = {}
MOST = 100_000
# Remote hosts: connections, failures, retransmissions.
hosts = {}


def __init__():
    print("TIME     WHAT              MS  LOCAL                  REMOTE                 PROCESS")


def address(family, four, six):
    if family == socket.AF_INET:
        return socket.inet_ntop(family, four)
    return socket.inet_ntop(socket.AF_INET6, six).removeprefix("::ffff:")


def count(host, column):
    if host not in hosts and len(hosts) >= MOST:
        host = "other hosts"
    hosts.setdefault(host, [0, 0, 0])[column] += 1


def show(realtime, what, nanoseconds, local, remote, process):
    clock = time.strftime("%H:%M:%S", time.localtime(realtime // 1_000_000_000))
    took = "" if nanoseconds is None else f"{nanoseconds / 1e6:.1f}"
    print(f"{clock} {what:10} {took:>9}  {local:22} {remote:22} {one_line(process)}".rstrip())


def sock__inet_sock_set_state(event):
    old, new, key, now = event.oldstate, event.newstate, event.skaddr, event._time
    if new == SYN_SENT:
        if len(sockets) > MOST:
            sockets.clear()
        sockets[key] = (now, f"{event._comm}({event._pid})")
        return
    if new not in (ESTABLISHED, CLOSE):
        return
    since, process = sockets.pop(key, (None, ""))
    if new == CLOSE and old != SYN_SENT and since is None:
        # It was open before, or never: a socket that listened, or was only made.
        return
    remote = address(event.family, event.daddr, event.daddr_v6)
    local = f"{address(event.family, event.saddr, event.saddr_v6)}:{event.sport}"
    took = now - since if since is not None else None
    if new == ESTABLISHED:
        sockets[key] = (now, process)
        count(remote, 0)
        what = "connected" if old == SYN_SENT else "accepted"
    elif old == SYN_SENT:
        count(remote, 1)
        what = "failed"
    else:
        what = "closed"
    show(event._realtime, what, took, local, f"{remote}:{event.dport}", process)


def tcp__tcp_retransmit_skb(event):
    remote = address(event.family, event.daddr, event.daddr_v6)
    local = f"{address(event.family, event.saddr, event.saddr_v6)}:{event.sport}"
    process = sockets.get(event.skaddr, (0, ""))[1]
    count(remote, 2)
    show(event._realtime, "resent", None, local, f"{remote}:{event.dport}", process)


def __exit__():
    rows = sorted(hosts.items(), key=lambda row: (-row[1][2], -row[1][1], -row[1][0]))
    print_table(
        ("HOST", "CONNECTIONS", "FAILED", "RESENT"), [(host, *counts) for host, counts in rows[:20]]
    )
