"""Sampled events of programs that do what they count a known number of times."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from commandline import open_folder
from processes import Daemon
from sampled import PAGE, Program, faults_in_region, sampled
from streams import events, read_to_end
from users import start_daemon

from ptrace_client.errors import ClientError
from ptrace_client.host import Host
from ptrace_client.perf_data.recording import open_recording
from ptrace_client.perf_data.stream import open_file_stream
from ptrace_proto import ptrace_pb2 as pb


@pytest.fixture
def host(daemon: Daemon) -> Iterator[Host]:
    with daemon.connect() as connected:
        yield connected


def test_page_faults_have_the_addresses_that_are_touched(host: Host, program: Program) -> None:
    found, total = sampled(host, "page-faults", lambda: program.do("t", 500), pid=program.pid)

    assert faults_in_region(program, found) == list(range(500))
    assert {event["_pid"] for event in found} == {program.pid}
    assert {event["period"] for event in found} == {1}
    assert not total.lost.total()


def test_time_task_and_cpu_are_those_of_the_sample(host: Host, program: Program) -> None:
    os.sched_setaffinity(program.pid, {1})

    found, _ = sampled(host, "page-faults", lambda: program.do("t", 50), pid=program.pid)

    assert len(found) >= 50
    for event in found:
        assert (event["pid"], event["tid"], event["cpu"], event["time"]) == (
            event["_pid"],
            event["_tid"],
            event["_cpu"],
            event["_time"],
        )
        assert (event["tid"], event["cpu"]) == (program.pid, 1)
    times = [event["_time"] for event in found]
    assert times == sorted(times)


def perf_while(event: str, pid: int, data: Path, work: Callable[[], object]) -> str:
    """What perf script prints of what perf record has recorded of a process meanwhile."""
    perf = subprocess.Popen(
        [
            *("perf", "record", "-q", "-o", data, "-m", "512", "-e", event, "-p", str(pid), "-d"),
            *("-k", "mono", "-c", "1", "-D", "-1", "--control", "fd:0,1"),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert perf.stdin is not None
    assert perf.stdout is not None
    perf.stdin.write(b"enable\n")
    perf.stdin.flush()
    assert perf.stdout.readline().startswith(b"ack")
    work()
    perf.stdin.write(b"stop\n")
    perf.stdin.flush()
    # Its control pipe stays open meanwhile: perf takes the end of it for an error.
    assert perf.wait() == 0
    perf.communicate()
    script = ["perf", "script", "--ns", "-i", data, "-F", "tid,time,ip,addr"]
    return subprocess.run(script, check=True, capture_output=True, text=True).stdout


@pytest.mark.parametrize(
    ("event", "command"), [("page-faults", "t"), ("context-switches", "n"), ("cpu-migrations", "m")]
)
def test_perf_record_has_the_same_samples(
    host: Host, program: Program, tmp_path: Path, event: str, command: str
) -> None:
    text = ""

    def work() -> None:
        nonlocal text
        text = perf_while(event, program.pid, tmp_path / "data", lambda: program.do(command, 60))

    found, _ = sampled(host, event, work, "tid", "ip", "addr", pid=program.pid)

    # A line each: thread, time, address, instruction.
    lines = [line.split() for line in text.splitlines()]
    theirs = [(int(tid), int(ip, 16), int(addr, 16)) for tid, _, addr, ip in lines]
    times = [int(time.rstrip(":").replace(".", "")) for _, time, _, _ in lines]
    # Both take a time of their own; ours has more at both ends.
    near = 20_000_000
    first = next(
        i
        for i, e in enumerate(found)
        if abs(e["_time"] - times[0]) < near and (e["tid"], e["ip"], e["addr"]) == theirs[0]
    )
    ours = found[first : first + len(theirs)]
    assert len(theirs) >= 60
    assert [(e["tid"], e["ip"], e["addr"]) for e in ours] == theirs
    for mine, other in zip(ours, times, strict=True):
        assert abs(mine["_time"] - other) < near
    # AND so has what scripts get of the recording, in the same columns
    recording = open_recording(str(tmp_path / "data"))
    stream = open_file_stream(recording, [])
    recorded = events(stream, read_to_end(stream))
    recording.close()
    assert [(e["tid"], e["ip"], e["addr"]) for e in recorded] == theirs
    assert [e["_time"] for e in recorded] == times
    (live,), (schema,) = host.describe([event]), stream.started.schemas
    assert list(schema.fields) == list(live.fields)
    assert list(schema.all_fields) == list(live.all_fields)


def test_a_program_that_sleeps_switches_each_time(host: Host, program: Program) -> None:
    found, _ = sampled(host, "context-switches", lambda: program.do("n", 40), pid=program.pid)

    # One more where it waits for the next command, and where others take its CPU.
    assert 40 <= len(found) <= 60
    assert {event["_tid"] for event in found} == {program.pid}


def test_each_move_to_another_cpu_is_a_migration(host: Host, program: Program) -> None:
    found, _ = sampled(host, "cpu-migrations", lambda: program.do("m", 30), pid=program.pid)

    # The scheduler may have moved it too, when it woke up.
    assert 30 <= len(found) <= 32
    cpus = [event["_cpu"] for event in found]
    assert all(before != after for before, after in pairwise(cpus))


def test_clock_samples_are_where_the_program_is(host: Host, program: Program) -> None:
    found, _ = sampled(
        host, "cpu-clock:u/-F 997/", lambda: program.do("s", 300), "ip", "period", pid=program.pid
    )

    # Fewer where the machine is an emulated one.
    assert 50 <= len(found) <= 350
    inside = [e for e in found if program.spin <= e["ip"] < program.spin + 256]
    assert len(inside) > 0.9 * len(found)
    # A frequency of 997 Hz is a period of 1003009 ns.
    assert {event["period"] for event in found} == {1003009}


def test_a_period_of_a_software_event_is_kept(host: Host, program: Program) -> None:
    os.sched_setaffinity(program.pid, {0})

    found, _ = sampled(
        host, "page-faults/-c 100/", lambda: program.do("t", 5000), "period", pid=program.pid
    )

    # All processes of the CPU are counted, and those samples taken that fall on this one.
    assert 20 <= len(found) <= 60
    assert {event["period"] for event in found} == {100}


def test_children_are_followed(host: Host, program: Program) -> None:
    found, _ = sampled(host, "page-faults", lambda: program.do("f", 200), pid=program.pid)

    children = {event["_pid"] for event in found} - {program.pid}
    assert len(children) == 1
    assert faults_in_region(program, [e for e in found if e["_pid"] in children]) == [*range(200)]


def test_one_cpu_only(host: Host, program: Program) -> None:
    def work() -> None:
        for cpu in (0, 1):
            os.sched_setaffinity(program.pid, {cpu})
            program.do("t", 100)

    found, _ = sampled(host, "page-faults/-C 1/", work, pid=program.pid)

    assert faults_in_region(program, found) == list(range(100, 200))
    assert {event["_cpu"] for event in found} == {1}


def test_a_filter_decides_before_the_sample_is_taken(host: Host, program: Program) -> None:
    page = program.region + 7 * PAGE
    selector = (
        f"page-faults/--filter 'addr == {page} && comm == \"samples\" && tid == {program.pid}'/"
    )

    found, _ = sampled(host, selector, lambda: program.do("t", 50))

    assert [event["addr"] for event in found] == [page]


@pytest.mark.needs_kernel("breakpoints")
def test_a_daemon_with_three_capabilities_samples(program: Program) -> None:
    # GIVEN a daemon that is not root
    with open_folder() as folder:
        daemon = start_daemon(folder)
        watched = f"breakpoint/0x{program.watched:x}/8:w/"

        # WHEN it samples the processes of another user
        try:
            with daemon.connect() as host:
                faults, _ = sampled(
                    host, "page-faults", lambda: program.do("t", 50), "addr", pid=program.pid
                )
                writes, _ = sampled(
                    host,
                    watched,
                    lambda: program.do("w", 9),
                    *("regs_user", "phys_addr"),
                    pid=program.pid,
                )
                times, _ = sampled(
                    host, "profile/-F 997/", lambda: program.do("s", 50), "ip", pid=program.pid
                )
                # Except where the kernel wants more: on its own addresses.
                with pytest.raises(ClientError) as error:
                    sampled(host, "breakpoint/0xffffffff81000000/8/", lambda: None)
        finally:
            daemon.stop()

    # THEN it gets all of it
    assert faults_in_region(program, faults) == list(range(50))
    assert len(writes) == 9
    assert writes[0]["regs_user"]["abi"] == 2
    assert writes[0]["phys_addr"] > 0
    assert len(times) >= 40
    assert str(error.value) == (
        "error: breakpoints on kernel addresses need the daemon to have CAP_SYS_ADMIN\n"
        "  breakpoint/0xffffffff81000000/8/\n"
        "  ^~~~~~~~~~"
    )


def test_equal_sessions_share_the_events(host: Host, program: Program, daemon: Daemon) -> None:
    def rings() -> int:
        links = (os.readlink(link) for link in Path(f"/proc/{daemon.pid}/fd").iterdir())
        return sum(link == "anon_inode:[perf_event]" for link in links)

    request = pb.TraceRequest(selectors=["minor-faults"])
    before = rings()
    with host.open(request) as first:
        alone = rings() - before
        with host.open(request) as second:
            assert rings() - before == alone > 0
            program.do("t", 100)
            second.stop()
            first.stop()
            counts = [read_to_end(stream).produced for stream in (first, second)]

    assert min(counts) >= 100


@pytest.mark.parametrize(
    ("selector", "fields", "message"),
    [
        (
            "page-faults",
            ("branch_stack",),
            "error: samples of page-faults have no 'branch_stack' here: "
            "it takes a PMU that records branches",
        ),
        (
            "page-faults",
            ("aux",),
            "error: samples of page-faults have no 'aux' here: "
            "it takes a PMU that traces, such as intel_pt",
        ),
        ("page-faults", ("adr",), "error: page-faults has no member 'adr' (did you mean 'addr'?)"),
        (
            "task-state",
            (),
            "error: perf-prof's 'task-state' adds up times per state; a script does that with "
            "sched:sched_switch and sched:sched_wakeup\n"
            "  task-state\n"
            "  ^~~~~~~~~~",
        ),
        (
            "page-fault",
            (),
            "error: no event 'page-fault' (did you mean 'page-faults'?)\n"
            "  page-fault\n"
            "  ^~~~~~~~~~",
        ),
    ],
)
def test_what_cannot_be_sampled(
    host: Host, selector: str, fields: tuple[str, ...], message: str
) -> None:
    with pytest.raises(ClientError) as error:
        sampled(host, selector, lambda: None, *fields)

    assert str(error.value) == message
