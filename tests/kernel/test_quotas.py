"""What a user may hold at once, and what it costs others when one asks for far more."""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable

import pytest
from leftovers import programs_of, wait_until
from processes import Calls, Daemon
from strangers import ANN, BEN, connected_as, rule
from streams import GETPPID, read_to_end, trace_while

from ptrace_client.errors import ClientError
from ptrace_client.host import Host
from ptrace_proto import ptrace_pb2 as pb

PAGES = 16


def request(selector: str = GETPPID, **options: object) -> pb.TraceRequest:
    return pb.TraceRequest(selectors=[selector], buffer_pages=PAGES, **options)  # type: ignore[arg-type]


def refusal(host: Host, asked: pb.TraceRequest) -> str:
    with pytest.raises(ClientError) as caught, host.open(asked):
        pass
    return str(caught.value)


def test_a_thousand_sessions_of_one_user_are_few_and_others_trace_on(
    served: Callable[[str], Daemon], calls: Callable[..., Calls]
) -> None:
    daemon = served(rule(ANN, sessions=4) + rule(BEN, sessions=4))
    program = calls(1_000)
    with connected_as(ANN, daemon) as ann, connected_as(BEN, daemon) as ben:
        streams = [ann.open(request(f"{GETPPID}/common_pid=={n}/")) for n in range(4)]
        before = programs_of(daemon)

        refused = {refusal(ann, request(f"{GETPPID}/common_pid=={n}/")) for n in range(996)}

        assert refused == {
            "error: 1 session more would be over your limit of 4 sessions, of which 4 are in use; "
            "end one first"
        }
        assert programs_of(daemon) == before
        total = trace_while(
            ben, request(f"{GETPPID}/common_pid=={program.pid}/"), lambda: program.make()
        )
        assert total.delivered[1] == 1_000
        for stream in streams:
            stream.cancel()


@pytest.mark.parametrize("how", ["stopped", "cancelled", "refused"])
def test_what_a_session_held_is_given_back_however_it_ends(
    served: Callable[[str], Daemon], how: str
) -> None:
    size = PAGES * mmap.PAGESIZE * len(os.sched_getaffinity(0))
    daemon = served(rule(ANN, sessions=1, programs=1, buffer_bytes=size))
    with connected_as(ANN, daemon) as ann:
        for _ in range(3):
            if how == "refused":
                assert "no event" in refusal(ann, request("no:such_event"))
                continue
            with ann.open(request()) as stream:
                if how == "stopped":
                    stream.stop()
                    read_to_end(stream)
            wait_until(lambda: not ann.sessions(), "the session is gone")
        with ann.open(request()):
            pass


@pytest.mark.parametrize(
    ("quota", "asked", "message"),
    [
        (
            {"programs": 2},
            {"selectors": ["syscalls:sys_enter_get[pgu]id,syscalls:sys_exit_get[pgu]id"]},
            "error: 6 programs more would be over your limit of 2 programs, of which 0 are in use; "
            "select fewer events",
        ),
        (
            {"stack_depth": 16},
            {"selectors": [GETPPID], "stacks": pb.Stacks(user=True, max_depth=17)},
            "error: stacks of 17 frames are over your limit of 16 frames; ask for fewer",
        ),
        (
            # Timers interrupt everybody, whose tasks these are is seen then.
            {"events_per_second": 9_999},
            {"selectors": ["cpu-clock/-c 10us/", "task-clock/-C 0 -F 5000/"]},
            f"error: {100_000 * len(os.sched_getaffinity(0)) + 5000} samples per second more would "
            "be over your limit of 9999 samples per second, of which 0 are in use; sample less "
            "often, or on fewer CPUs",
        ),
    ],
)
def test_what_is_over_a_quota_is_refused_before_it_is_made(
    served: Callable[[str], Daemon],
    quota: dict[str, int],
    asked: dict[str, object],
    message: str,
) -> None:
    daemon = served(rule(ANN, **quota))
    with connected_as(ANN, daemon) as ann:
        assert refusal(ann, pb.TraceRequest(**asked)) == message  # type: ignore[arg-type]
    assert programs_of(daemon) == set()


@pytest.mark.parametrize(
    ("selector", "scoped", "counted"),
    [
        # Two dispatchers, which jump to what they have: that is loaded, but does not count.
        ("syscalls:sys_enter_get*", False, 2),
        # And two that follow children.
        ("syscalls:sys_enter_get*", True, 4),
        (GETPPID, True, 3),
    ],
)
def test_programs_count_that_the_kernel_runs(
    served: Callable[[str], Daemon], selector: str, scoped: bool, counted: int
) -> None:
    scope = pb.Scope(pids=[os.getpid()] if scoped else [])
    asked = pb.TraceRequest(selectors=[selector], scope=scope, buffer_pages=PAGES)
    daemon = served(rule(ANN, programs=counted) + rule(BEN, programs=counted - 1))
    with connected_as(ANN, daemon) as ann, connected_as(BEN, daemon) as ben:
        with ann.open(asked):
            assert len(programs_of(daemon)) >= counted
        assert refusal(ben, asked).startswith(f"error: {counted} programs more")


def test_stacks_have_no_more_frames_than_the_quota(
    served: Callable[[str], Daemon], calls: Callable[..., Calls]
) -> None:
    daemon = served(rule(ANN, stack_depth=2))
    program = calls(10)
    with connected_as(ANN, daemon) as ann:
        total = trace_while(
            ann,
            request(f"{GETPPID}/common_pid=={program.pid}/", stacks=pb.Stacks(kernel=True)),
            lambda: program.make(),
        )
    assert total.stacks
    assert {len(stack.frames) for stack in total.stacks} == {2}


def test_who_keeps_the_compiler_busy_is_told_to_come_again(
    served: Callable[[str], Daemon],
) -> None:
    daemon = served(rule(ANN, compile_ms=1) + rule(BEN))
    with connected_as(ANN, daemon) as ann, connected_as(BEN, daemon) as ben:
        with ann.open(request()):
            assert refusal(ann, request("sched:sched_switch")).startswith(
                "error: the compiler has worked for your limit of 1 ms per minute; come again in "
            )
            # What is there already costs nothing.
            with ann.open(request()):
                pass
        with ben.open(request("sched:sched_switch")):
            pass


def test_users_are_told_what_they_use(served: Callable[[str], Daemon]) -> None:
    size = PAGES * mmap.PAGESIZE * len(os.sched_getaffinity(0))
    daemon = served(rule(ANN, sessions=3))
    with connected_as(ANN, daemon) as ann:
        with ann.open(request()), ann.open(request(stacks=pb.Stacks(kernel=True))):
            used = ann.whoami().used
            assert (used.sessions, used.programs, used.probes) == (2, 2, 0)
            assert used.buffer_bytes == 2 * size
        wait_until(lambda: not ann.whoami().used.sessions, "the sessions are gone")
        used = ann.whoami().used
        assert (used.programs, used.buffer_bytes) == (0, 0)
