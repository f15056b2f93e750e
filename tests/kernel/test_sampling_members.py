"""What samples have, from a real kernel: each member against what the program does."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from itertools import pairwise

import pytest
from processes import Daemon
from sampled import PAGE, Program, sampled
from streams import read_to_end

from ptrace_client.host import Host
from ptrace_proto import ptrace_pb2 as pb


@pytest.fixture
def host(daemon: Daemon) -> Iterator[Host]:
    with daemon.connect() as connected:
        yield connected


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


def test_a_group_is_read_with_each_sample(host: Host, program: Program) -> None:
    os.sched_setaffinity(program.pid, {0})

    found, _ = sampled(
        host,
        "minor-faults/--group context-switches,page-faults/",
        lambda: [program.do("t", 20) for _ in range(5)],
        "read",
        pid=program.pid,
    )

    assert len(found) >= 100
    for before, after in pairwise(event["read"] for event in found):
        assert after["nr"] == 3
        assert after["time_enabled"] > before["time_enabled"]
        assert after["time_running"] <= after["time_enabled"]
        minor, switches, faults = after["cntr"]
        # Every minor fault is a fault, and major ones are rare.
        assert 0 <= faults["value"] - minor["value"] < 1000
        assert minor["value"] > before["cntr"][0]["value"]
        assert switches["value"] >= before["cntr"][1]["value"]
        assert len({counter["id"] for counter in after["cntr"]}) == 3
        assert [counter["lost"] for counter in after["cntr"]] == [0, 0, 0]
    # It waits for each command.
    values = [event["read"]["cntr"][1]["value"] for event in found]
    assert values[-1] - values[0] >= 4


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
