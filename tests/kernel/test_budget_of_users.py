"""A session that costs the host more than its user's budget is ended, with the reason."""

from __future__ import annotations

import re
from collections.abc import Callable

from processes import Calls, Daemon
from strangers import ANN, BEN, connected_as, rule
from streams import GETPPID, read_to_end

from ptrace_client.host import Host
from ptrace_client.stream import Stream
from ptrace_proto import ptrace_pb2 as pb

# More than a test's time; the program is killed.
ENDLESS = 1 << 40


def open_(host: Host, selector: str) -> Stream:
    return host.open(pb.TraceRequest(selectors=[selector]))


def test_the_costliest_session_ends_and_others_go_on(
    served: Callable[[str], Daemon], calls: Callable[..., Calls]
) -> None:
    # GIVEN two sessions of a user with a small budget, and another user's
    daemon = served(rule(ANN, cpu_percent=1) + rule(BEN))
    flood, few = calls(ENDLESS), calls(100)
    with connected_as(ANN, daemon) as ann, connected_as(BEN, daemon) as ben:
        cheap = open_(ann, "sched:sched_process_exec")
        dear = open_(ann, f"{GETPPID}/common_pid=={flood.pid}/stack/")
        other = open_(ben, f"{GETPPID}/common_pid=={few.pid}/")

        # WHEN a program hits one without an end
        assert flood.process.stdin is not None
        flood.process.stdin.write("go\n")
        flood.process.stdin.flush()
        end = read_to_end(dear).end
        flood.process.kill()

        # THEN that one ends
        assert end.reason == pb.END_REASON_OVER_BUDGET
        told = re.fullmatch(
            r"the BPF programs of your sessions took ([\d.]+) % of a CPU over \d+ s, and your "
            r"budget is 1 %; this session took the most of it, [\d.]+ %",
            end.text,
        )
        assert told is not None
        assert 1 < float(told[1]) <= 100
        few.make()
        for stream, events in ((cheap, 0), (other, 100)):
            stream.stop()
            total = read_to_end(stream)
            assert total.end.reason == pb.END_REASON_STOPPED
            assert total.delivered[1] >= events
            stream.cancel()
