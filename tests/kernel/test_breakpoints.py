"""Hardware breakpoints on variables and functions of a program."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from processes import Daemon
from sampled import Program, sampled
from streams import events, read_to_end

from ptrace_client.errors import ClientError
from ptrace_client.host import Host
from ptrace_proto import ptrace_pb2 as pb


@pytest.fixture
def host(daemon: Daemon) -> Iterator[Host]:
    with daemon.connect() as connected:
        yield connected


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


@pytest.mark.needs_kernel("breakpoints")
def test_more_breakpoints_than_the_machine_has(host: Host) -> None:
    selectors = [f"breakpoint/{0x10000 + 8 * number}/8//alias=b{number}/" for number in range(9)]

    with pytest.raises(ClientError) as error:
        host.open(pb.TraceRequest(selectors=selectors))

    # Others may hold some of them.
    assert str(error.value).splitlines()[0] == (
        "error: all hardware breakpoints of this machine are in use; it has few, usually 4"
    )


@pytest.mark.needs_kernel("breakpoints")
def test_the_same_breakpoint_is_shared_where_no_more_are_free(host: Host) -> None:
    with ExitStack() as streams:

        def open_those(*numbers: int) -> None:
            for number in numbers:
                selector = f"breakpoint/{0x10000 + 8 * number}/8/"
                streams.enter_context(host.open(pb.TraceRequest(selectors=[selector])))

        with pytest.raises(ClientError, match="all hardware breakpoints"):
            open_those(*range(9))
        open_those(0)
