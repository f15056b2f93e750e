"""Scope `own`, as the programs in the kernel decide it: whose task it is, and no interrupt."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from commandline import open_folder
from ownership import Event, Tracer
from streams import GETPPID

from ptrace_proto import ptrace_pb2 as pb
from ptraced.tracefs import Tracefs

pytestmark = pytest.mark.needs_kernel("BTF", "capabilities")
USER, OTHER = 61001, 61002
COUNT = 500
LIBC = "/lib/x86_64-linux-gnu/libc.so.6"


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with open_folder() as folder:
        yield folder


@pytest.fixture(scope="module")
def tracer(folder: Path) -> Iterator[Tracer]:
    running = Tracer(folder)
    yield running
    running.close()


def user_prefix(uid: int) -> tuple[str, ...]:
    return ("setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups")


# What a process does before it makes its calls, as root: U is the user, O is another.
PREPARE = """
import ctypes, os, sys
libc = ctypes.CDLL(None)
def dumpable(value):
    assert libc.prctl(4, value, 0, 0, 0) == 0
def calls():
    for _ in range({count}):
        os.getppid()
U, O = {user}, {other}
print(os.getpid(), flush=True)
{body}
"""


def run(body: str) -> int:
    """Run a process of root's that does what `body` says; returns its pid."""
    text = PREPARE.format(count=COUNT, user=USER, other=OTHER, body=body)
    # Without `site`, and so without what it looks up.
    done = subprocess.run(
        [sys.executable, "-S", "-E", "-c", text], check=True, stdout=subprocess.PIPE, text=True
    )
    return int(done.stdout.split()[0])


def ordinary(uid: int) -> str:
    """What an ordinary process of a user does."""
    return f"os.setresuid({uid}, {uid}, {uid}); dumpable(1); calls()"


def pids(events: list[Event]) -> Counter[int]:
    return Counter(event["_pid"] for event in events)


def test_each_user_sees_its_own_calls_to_the_last(tracer: Tracer) -> None:
    def work() -> None:
        ran.extend((uid, run(ordinary(uid))) for uid in (USER, OTHER, USER))

    ran: list[tuple[int, int]] = []
    with tracer.tracing(USER, [GETPPID]) as end, tracer.tracing(OTHER, [GETPPID]) as end_other:
        work()
        mine, others = pids(end()), pids(end_other())

    assert mine == {pid: COUNT for uid, pid in ran if uid == USER}
    assert others == {pid: COUNT for uid, pid in ran if uid == OTHER}


STRANGE = {
    "real": "os.setresuid(O, U, U)",
    "effective": "os.setresuid(U, O, U)",
    "saved": "os.setresuid(U, U, O)",
    "root's real": "os.setresuid(0, U, U)",
    "root's effective": "os.setresuid(U, 0, U)",
    "root's saved": "os.setresuid(U, U, 0)",
    "effective, and not that of files": "os.setresuid(U, 0, U); libc.setfsuid(U)",
    # Whoever sets the effective id sets that of files as well, and root may take it back.
    "fs": "os.setresuid(U, U, 0); os.seteuid(0); libc.setfsuid(O); os.setresuid(U, 0, U)",
}


@pytest.mark.parametrize("change", STRANGE.values(), ids=STRANGE)
def test_a_task_with_any_other_id_is_nobodys_own(tracer: Tracer, change: str) -> None:
    with tracer.tracing(USER, [GETPPID]) as end, tracer.tracing(OTHER, [GETPPID]) as end_other:
        run(f"{change}; dumpable(1); calls()")
        assert (end(), end_other()) == ([], [])


# Has a task of the user's hold the rights of a mask, CAP_* by number.
RIGHTS = """
def hold(rights):
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    low, high = rights & 0xFFFFFFFF, rights >> 32
    sets = (ctypes.c_uint32 * 6)(low, low, 0, high, high, 0)
    assert libc.capset(header, sets) == 0
libc.prctl(8, 1, 0, 0, 0)
os.setresuid(U, U, U)
"""


def test_the_id_for_files_alone_makes_a_task_nobodys_own(tracer: Tracer) -> None:
    # GIVEN a task that had the right to set it, as those do that serve files to many
    body = """
hold(1 << 7)
libc.setfsuid(O)
assert libc.setfsuid(-1) == O
hold(0)
dumpable(1)
calls()
libc.setfsuid(U)
dumpable(1)
calls()
"""
    with tracer.tracing(USER, [GETPPID]) as end:
        pid = run(RIGHTS + body)
        assert pids(end()) == {pid: COUNT}


@pytest.mark.parametrize("right", [0, 2, 7, 21, 38, 40])
def test_a_task_with_more_rights_than_its_user_is_nobodys_own(tracer: Tracer, right: int) -> None:
    # As a service that its unit gives one: by ptrace's rule its user may not look at it.
    body = f"hold(1 << {right}); dumpable(1); calls(); hold(0); calls()"
    with tracer.tracing(USER, [GETPPID]) as end:
        pid = run(RIGHTS + body)
        assert pids(end()) == {pid: COUNT}


@pytest.mark.parametrize("change", ["hold(1 << 35)", "assert libc.unshare(0x10000000) == 0"])
def test_rights_over_nobody_else_make_no_difference(tracer: Tracer, change: str) -> None:
    # CAP_WAKE_ALARM, which the sessions of users have; all rights in a user namespace of its own.
    with tracer.tracing(USER, [GETPPID]) as end:
        pid = run(f"{RIGHTS}{change}; dumpable(1); calls()")
        assert pids(end()) == {pid: COUNT}


def test_a_task_that_is_not_dumpable_is_nobodys_own(tracer: Tracer) -> None:
    body = "os.setresuid(U, U, U); dumpable(0); calls(); dumpable(1); calls(); dumpable(0); calls()"
    with tracer.tracing(USER, [GETPPID]) as end:
        pid = run(body)
        assert pids(end()) == {pid: COUNT}


def test_root_has_tasks_of_its_own_too_and_no_kernel_threads(tracer: Tracer) -> None:
    with tracer.tracing(0, [GETPPID, "sched:sched_switch"]) as end:
        mine = run("calls()")
        run(ordinary(USER))
        events = end()

    assert pids([event for event in events if event["_event"] == GETPPID])[mine] == COUNT
    switched = {event["_pid"] for event in events}
    assert mine in switched
    assert 0 not in switched
    assert not switched & set(kernel_threads())


def kernel_threads() -> Iterator[int]:
    """Those of now: kernel threads have no memory to be mapped, and kthreadd for a parent."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            words = stat.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(words[1]) == 2:
            yield int(stat.parent.name)


@pytest.fixture(scope="module")
def setuid(folder: Path, build: Callable[[str], Path]) -> Path:
    """The program of setuid.c, root's, that others run as root; and `calls` beside it."""
    program = folder / "setuid"
    for name in ("setuid", "calls"):
        shutil.copy(build(name), folder / name)
        (folder / name).chmod(0o755)
    program.chmod(0o4755)
    return program


# Of system calls, memory, scheduling and samples: whatever might carry a secret along.
EVERYTHING = [
    GETPPID,
    "syscalls:sys_enter_write",
    "syscalls:sys_exit_write",
    "syscalls:sys_*_execve",
    "syscalls:sys_*_setresuid",
    "raw_syscalls:*",
    "exceptions:page_fault_user",
    "sched:sched_switch",
    "sched:sched_process_*",
    "task:*",
    "signal:*",
    "kmem:*",
    "cpu-clock/-F 3000/",
    "page-faults",
    "context-switches",
]


SEEN = ("syscalls:sys_enter_execve", "syscalls:sys_exit_execve", GETPPID)


@pytest.mark.needs_kernel("perf events")
def test_of_a_set_uid_program_its_caller_sees_nothing(tracer: Tracer, setuid: Path) -> None:
    # GIVEN a program of the caller's that becomes one of root's
    with tracer.tracing(USER, EVERYTHING, stacks=pb.Stacks(user=True, kernel=True)) as end:
        program = subprocess.Popen(
            [*user_prefix(USER), "sh", "-c", f"exec {setuid} {COUNT}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert program.stdin is not None
        assert program.stdout is not None
        pid = int(program.stdout.readline())
        assert pid == program.pid
        began = time.monotonic_ns()
        # WHEN it works as root, then as the user again, and has a child
        program.stdin.write("go\n")
        program.stdin.flush()
        assert program.stdout.readline() == "the secret of root\n"
        ended = int(program.stdout.readline())
        # AND becomes an ordinary program by another exec
        assert int(program.stdout.readline()) == pid
        program.stdin.write("go\n")
        program.stdin.flush()
        assert program.stdout.readline() == "done\n"
        program.communicate()
        events = end()

    assert {process(event) for event in events} == {pid}
    times = {name: [e["_time"] for e in events if e["_event"] == name] for name in SEEN}
    # THEN only what was before and after is seen
    assert not [event for event in events if began < event["_time"] < ended]
    assert max(times["syscalls:sys_enter_execve"]) < began
    assert max(times["syscalls:sys_exit_execve"]) > ended
    assert len([time for time in times[GETPPID] if time > ended]) == COUNT
    assert not any("secret" in str(event) for event in events)


def process(event: Event) -> int:
    """The process of an event, or of a sample."""
    return int(event["_pid"] if "_pid" in event else event["pid"])


# Of hard interrupts and softirqs, whatever task is current; and of tasks.
INTERRUPTS = ["irq:*", "timer:hrtimer_expire_*", "timer:timer_expire_*"]
# On x86.
VECTORS = "irq_vectors:local_timer_*"
OF_TASKS = [GETPPID, "exceptions:page_fault_user", "sched:sched_switch"]
CAME = ["irq:softirq_entry", "timer:hrtimer_expire_entry"]
# Runs until a good number of interrupts have come upon it, then faults and is switched out.
BUSY = """
os.setresuid(U, U, U)
dumpable(1)
import time
while time.process_time() < 0.3:
    pass
memory = [bytearray(1 << 16) for _ in range(64)]
calls()
time.sleep(0.001)
"""


def test_interrupts_that_come_upon_an_own_task_are_not_seen(
    tracer: Tracer,
) -> None:
    has_vectors = "irq_vectors:local_timer_entry" in Tracefs.find().names()
    selectors = [*INTERRUPTS, *OF_TASKS, *(VECTORS for _ in range(has_vectors))]
    with tracer.tracing(USER, selectors) as end, tracer.tracing(None, selectors) as end_all:
        pid = run(BUSY)
        mine = end()
        happened = Counter(event["_event"] for event in end_all() if event["_pid"] == pid)

    seen = Counter(event["_event"] for event in mine)
    assert {event["_pid"] for event in mine} == {pid}
    # They came while the task was current.
    came = [*CAME, *("irq_vectors:local_timer_entry" for _ in range(has_vectors))]
    assert min(happened[name] for name in came) > 20, happened
    assert set(seen) == {GETPPID, "exceptions:page_fault_user", "sched:sched_switch"}
    assert seen[GETPPID] == COUNT
    assert seen["sched:sched_switch"] > 1
    assert seen["exceptions:page_fault_user"] > 64


@pytest.mark.needs_kernel("perf events")
@pytest.mark.parametrize("selector", ["cpu-clock/-F 2000/", "task-clock/-F 2000/", "profile"])
def test_a_sampling_events_own_interrupt_is_looked_through(tracer: Tracer, selector: str) -> None:
    body = BUSY.replace("0.3", "0.1" if "-F" in selector else "0.5")
    pids_of = {USER: 0, OTHER: 0}
    with tracer.tracing(USER, [selector]) as end, tracer.tracing(OTHER, [selector]) as end_other:
        pids_of[USER] = run(body)
        pids_of[OTHER] = run(body.replace("(U, U, U)", "(O, O, O)"))
        mine, others = end(), end_other()

    assert {event["pid"] for event in mine} == {pids_of[USER]}
    assert {event["pid"] for event in others} == {pids_of[OTHER]}
    assert min(len(mine), len(others)) > 20


@pytest.mark.needs_kernel("perf events")
def test_of_what_tasks_count_themselves_each_user_has_its_own(tracer: Tracer) -> None:
    selectors = ["page-faults", "context-switches"]
    with tracer.tracing(USER, selectors) as end, tracer.tracing(OTHER, selectors) as end_other:
        pid = run(BUSY)
        other = run(BUSY.replace("(U, U, U)", "(O, O, O)"))
        mine, others = end(), end_other()

    for events, own in ((mine, pid), (others, other)):
        assert {event["pid"] for event in events} == {own}
        assert Counter(event["_event"] for event in events).keys() == set(selectors)


# A probe in a library that all users have.
PROBE = f'uprobe:getppid@"{LIBC}"'


@pytest.mark.needs_kernel("uprobes")
def test_a_probe_in_a_library_is_hit_by_all_and_seen_of_own_tasks(tracer: Tracer) -> None:
    with tracer.tracing(USER, [PROBE]) as end:
        run(ordinary(OTHER))
        pid = run(ordinary(USER))
        assert pids(end()) == {pid: COUNT}


FAMILY = [f"syscalls:sys_enter_{name}" for name in ("getppid", "getpid", "getuid", "geteuid")]
FAMILY += [name.replace("enter", "exit") for name in FAMILY] + ["syscalls:sys_enter_prctl"]


def test_calls_that_are_dispatched_by_number_are_seen_of_own_tasks(tracer: Tracer) -> None:
    with tracer.tracing(USER, FAMILY) as end:
        run(ordinary(OTHER))
        pid = run(ordinary(USER))
        events = end()

    assert {event["_pid"] for event in events} == {pid}
    seen = Counter(event["_event"] for event in events)
    assert seen[GETPPID] == seen["syscalls:sys_exit_getppid"] == COUNT
