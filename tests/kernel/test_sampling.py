"""Sampled events of programs that do what they count a known number of times."""

from __future__ import annotations

import os
import struct
import subprocess
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from commandline import open_folder
from processes import Daemon
from streams import Total, events, read_to_end
from users import start_daemon

from ptrace_client.errors import ClientError
from ptrace_client.event_decoder import EventDecoder
from ptrace_client.host import Host
from ptrace_client.stream import Stream
from ptrace_proto import ptrace_pb2 as pb

PAGE = 4096
HERE = Path(__file__).parent

Event = dict[str, Any]


class Program:
    """The program of samples.c."""

    def __init__(self, binary: Path) -> None:
        self.process = subprocess.Popen(
            [binary], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        numbers = map(int, self.process.stdout.readline().split())
        self.pid, self.watched, self.bump, self.spin, self.region = numbers

    def do(self, command: str, count: int) -> None:
        """Have it do something `count` times, and return when it has."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{command} {count}\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == "done\n"

    def end(self) -> None:
        self.process.communicate()


@pytest.fixture(scope="session")
def samples_binary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    binary = tmp_path_factory.mktemp("samples") / "samples"
    subprocess.run(["gcc", "-O1", "-o", binary, HERE / "samples.c"], check=True)
    return binary


@pytest.fixture
def program(samples_binary: Path) -> Iterator[Program]:
    running = Program(samples_binary)
    yield running
    running.end()


@pytest.fixture
def host(daemon: Daemon) -> Iterator[Host]:
    with daemon.connect() as connected:
        yield connected


def sampled(
    host: Host,
    selector: str,
    work: Callable[[], object],
    *fields: str,
    pid: int = 0,
    **options: Any,
) -> tuple[list[Event], Total]:
    """The samples of an event while something is done, by time; all usual members or `fields`."""
    name = selector.split("/")[0]
    projection = pb.Projection(event=name, fields=fields, all_fields=not fields)
    request = pb.TraceRequest(selectors=[selector], projections=[projection], **options)
    if pid:
        request.scope.pids.append(pid)
    with host.open(request) as stream:
        work()
        stream.stop()
        total = read_to_end(stream)
        return _taken(stream, total, fields), total


def _taken(stream: Stream, total: Total, fields: tuple[str, ...]) -> list[Event]:
    if not fields:
        return events(stream, total)
    (schema,) = stream.started.schemas
    decoder = EventDecoder(schema, stream.started.realtime_offset)
    found = [event for batch in total.batches for event in decoder.decode(batch)]
    names = ("_time", "_cpu", *fields)
    return sorted(({n: e[n] for n in names} for e in found), key=lambda event: event["_time"])


def faults_in_region(program: Program, found: list[Event]) -> list[int]:
    """Page numbers of the faults in the program's region."""
    pages = [(event["addr"] - program.region) // PAGE for event in found]
    return [page for page in pages if 0 <= page < 65536]


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
    first = next(i for i, e in enumerate(found) if abs(e["_time"] - times[0]) < 1_000_000)
    ours = found[first : first + len(theirs)]
    assert len(theirs) >= 60
    assert [(e["tid"], e["ip"], e["addr"]) for e in ours] == theirs
    for mine, other in zip(ours, times, strict=True):
        assert abs(mine["_time"] - other) < 1_000_000


def test_a_program_that_sleeps_switches_each_time(host: Host, program: Program) -> None:
    found, _ = sampled(host, "context-switches", lambda: program.do("n", 40), pid=program.pid)

    # One more where it waits for the next command, and where others take its CPU.
    assert 40 <= len(found) <= 60
    assert {event["_tid"] for event in found} == {program.pid}


def test_each_move_to_another_cpu_is_a_migration(host: Host, program: Program) -> None:
    found, _ = sampled(host, "cpu-migrations", lambda: program.do("m", 30), pid=program.pid)

    assert len(found) == 30
    cpus = [event["_cpu"] for event in found]
    assert all(before != after for before, after in pairwise(cpus))


@pytest.mark.needs_kernel("breakpoints")
@pytest.mark.parametrize(("access", "writes", "reads"), [("w", 100, 0), ("rw", 100, 70)])
def test_a_breakpoint_sees_each_access(
    host: Host, program: Program, access: str, writes: int, reads: int
) -> None:
    def work() -> None:
        program.do("w", 100)
        program.do("r", 70)

    selector = f"breakpoint/0x{program.watched:x}/8:{access}/"

    found, total = sampled(host, selector, work, pid=program.pid)

    assert len(found) == writes + reads
    assert {event["addr"] for event in found} == {program.watched}
    assert not total.lost.total()


@pytest.mark.needs_kernel("breakpoints")
def test_a_breakpoint_on_execution(host: Host, program: Program) -> None:
    selector = f"mem:0x{program.bump:x}:x"
    projection = pb.Projection(event=selector, all_fields=True)
    request = pb.TraceRequest(selectors=[selector], projections=[projection])
    request.scope.pids.append(program.pid)
    with host.open(request) as stream:
        program.do("b", 25)
        stream.stop()
        found = events(stream, read_to_end(stream))

    assert [event["ip"] for event in found] == [program.bump] * 25


@pytest.mark.needs_kernel("breakpoints")
def test_a_breakpoint_is_for_the_processes_of_the_scope_only(
    host: Host, program: Program, samples_binary: Path
) -> None:
    # Both have the variable at an address of their own; the other one's is watched too.
    other = Program(samples_binary)

    def work() -> None:
        program.do("w", 10)
        other.do("w", 10)

    selector = f"breakpoint/{other.watched}/8 -p {other.pid}/"
    found, _ = sampled(host, selector, work)
    other.end()

    assert [event["_pid"] for event in found] == [other.pid] * 10


def test_clock_samples_are_where_the_program_is(host: Host, program: Program) -> None:
    found, _ = sampled(
        host, "cpu-clock:u/-F 997/", lambda: program.do("s", 300), "ip", "period", pid=program.pid
    )

    assert 250 <= len(found) <= 350
    inside = [e for e in found if program.spin <= e["ip"] < program.spin + 256]
    assert len(inside) > 0.9 * len(found)
    # A frequency of 997 Hz is a period of 1003009 ns.
    assert {event["period"] for event in found} == {1003009}


def test_the_counter_grows_by_its_period(host: Host, program: Program) -> None:
    os.sched_setaffinity(program.pid, {0})
    found, _ = sampled(host, "page-faults", lambda: program.do("t", 50), "read", pid=program.pid)

    for before, after in pairwise(found):
        # Others' faults on this CPU count too.
        assert after["read"]["value"] > before["read"]["value"]
        assert after["read"]["time_enabled"] > before["read"]["time_enabled"]
        assert after["read"]["time_running"] <= after["read"]["time_enabled"]
        assert after["read"]["id"] == before["read"]["id"]
        assert after["read"]["lost"] == 0


def test_ids_tell_the_cpus_event(host: Host, program: Program) -> None:
    os.sched_setaffinity(program.pid, {0})

    found, _ = sampled(
        host,
        "page-faults",
        lambda: program.do("t", 50),
        *("id", "identifier", "stream_id"),
        pid=program.pid,
    )

    assert len({event["id"] for event in found}) == 1
    assert all(e["id"] == e["identifier"] == e["stream_id"] for e in found)


def test_a_period_of_a_software_event_is_kept(host: Host, program: Program) -> None:
    os.sched_setaffinity(program.pid, {0})

    found, _ = sampled(
        host, "page-faults/-c 100/", lambda: program.do("t", 5000), "period", pid=program.pid
    )

    # All processes of the CPU are counted, and those samples taken that fall on this one.
    assert 20 <= len(found) <= 60
    assert {event["period"] for event in found} == {100}


@pytest.mark.needs_kernel("breakpoints")
def test_registers_are_those_of_the_instruction(host: Host, program: Program) -> None:
    found, _ = sampled(
        host,
        f"breakpoint/{program.watched}/8:w/",
        lambda: program.do("w", 20),
        *("ip", "regs_user", "regs_intr"),
        pid=program.pid,
    )

    assert len(found) == 20
    for event in found:
        user, interrupted = event["regs_user"], event["regs_intr"]
        assert user["abi"] == 2
        assert user["ip"] == event["ip"]
        assert user == interrupted
        assert user["sp"] % 8 == 0
        assert user["cs"] & 3 == 3


@pytest.mark.needs_kernel("breakpoints")
def test_a_copy_of_the_users_stack(host: Host, program: Program) -> None:
    found, _ = sampled(
        host,
        f"breakpoint/{program.watched}/8:w --stack-user-size 1024/",
        lambda: program.do("g", 10),
        "stack_user",
        pid=program.pid,
    )

    marks = struct.pack("<8Q", *(0x6B6E6F776E000000 + number for number in range(8)))
    assert len(found) == 10
    for event in found:
        assert len(event["stack_user"]) == 1024
        assert marks in event["stack_user"]


def test_pages_and_control_groups(host: Host, program: Program) -> None:
    found, _ = sampled(
        host,
        "cpu-clock:u/-F 997/",
        lambda: program.do("s", 50),
        *("ip", "code_page_size", "data_page_size", "phys_addr", "cgroup", "data_src", "weight"),
        *("transaction", "raw", "ins_lat", "p_stage_cyc"),
        pid=program.pid,
    )

    inside = [e for e in found if program.spin <= e["ip"] < program.spin + 256]
    assert inside
    for event in inside:
        assert event["code_page_size"] == PAGE
        # A clock has no data address, no memory access and no cost.
        assert [event[name] for name in ("data_page_size", "phys_addr", "transaction")] == [0, 0, 0]
        assert [event[name] for name in ("weight", "ins_lat", "p_stage_cyc")] == [0, 0, 0]
        assert event["data_src"] > 0
        assert event["raw"] == bytes(4)
    assert len({event["cgroup"] for event in inside}) == 1
    assert inside[0]["cgroup"] > 0


@pytest.mark.needs_kernel("breakpoints")
def test_the_physical_address_of_what_is_written(host: Host, program: Program) -> None:
    found, _ = sampled(
        host,
        f"breakpoint/{program.watched}/8:w/",
        lambda: program.do("w", 5),
        *("phys_addr", "data_page_size"),
        pid=program.pid,
    )

    (address,) = {event["phys_addr"] for event in found}
    assert address % PAGE == program.watched % PAGE
    assert {event["data_page_size"] for event in found} == {PAGE}


def test_each_lost_sample_is_counted(host: Host, program: Program) -> None:
    # GIVEN a ring of a page and a reader that is not woken before it is full
    region = f"addr >= {program.region} && addr < {program.region + 65536 * PAGE}"
    selector = f"page-faults/--filter '{region}'/"

    # WHEN a program makes faults faster than the reader comes by
    found, total = sampled(
        host,
        selector,
        lambda: program.do("t", 50_000),
        "addr",
        pid=program.pid,
        buffer_pages=1,
        watermark_percent=100,
    )

    # THEN each fault was delivered, or counted as lost
    assert total.lost.total() > 0
    assert len(found) + total.lost.total() == 50_000
    assert (total.end.totals[0].delivered, total.end.totals[0].lost) == (
        len(found),
        total.lost.total(),
    )


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


def test_names_of_tasks(host: Host, program: Program) -> None:
    request = pb.TraceRequest(
        selectors=["page-faults"],
        projections=[pb.Projection(event="page-faults", fields=["_comm", "ip"])],
        scope=pb.Scope(pids=[program.pid]),
        self_describing=True,
    )
    with host.open(request) as stream:
        program.do("t", 20)
        stream.stop()
        samples = read_to_end(stream).samples

    names = [field.text for sample in samples for field in sample.fields if field.name == "_comm"]
    assert len(names) >= 20
    assert set(names) == {"samples"}


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


@pytest.mark.needs_kernel("breakpoints")
def test_more_breakpoints_than_the_machine_has(host: Host) -> None:
    selectors = [f"breakpoint/{0x10000 + 8 * number}/8//alias=b{number}/" for number in range(9)]

    with pytest.raises(ClientError) as error:
        host.open(pb.TraceRequest(selectors=selectors))

    assert str(error.value) == (
        "error: all hardware breakpoints of this machine are in use; it has few, usually 4"
    )
