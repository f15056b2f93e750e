"""Stacks of real events: complete, each sent once, with the names of their functions."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from processes import Calls, Daemon, running
from streams import GETPPID, Total, trace_while

from ptrace_proto import ptrace_pb2 as pb

HERE = Path(__file__).parent
BOTH = pb.Stacks(kernel=True, user=True)
# Of stacks.c.
STACKS, DEPTH = 300, 9


def request(
    program: Calls, event: str, stacks: pb.Stacks = BOTH, **more: object
) -> pb.TraceRequest:
    asked = pb.TraceRequest(selectors=[event], scope=pb.Scope(pids=[program.pid]), stacks=stacks)
    asked.MergeFrom(pb.TraceRequest(**more))  # type: ignore[arg-type]
    return asked


def path_of(number: int) -> list[str]:
    """The functions that call getppid for this number, leaf first."""
    found = ["main"]
    # The lowest bit decides what is called first, and that stands last.
    for bit in range(DEPTH):
        found = ["odd" if number >> bit & 1 else "even", "step", *found]
    return ["step", *found]


def user_names(stack: pb.Stack) -> list[str]:
    names = [frame.symbol for frame in stack.frames if not frame.kernel]
    return names[: names.index("main") + 1] if "main" in names else names


def test_three_hundred_stacks_are_sent_once_each_and_have_their_names(
    daemon: Daemon, build: Callable[[str], Path]
) -> None:
    # As many rounds as a ring takes, however late the reader is.
    rounds = 20
    with running(build("stacks"), rounds) as program, daemon.connect() as host:
        total = trace_while(host, request(program, GETPPID), program.make)

    assert total.delivered == {1: rounds * STACKS}
    assert not total.lost
    assert len(total.stacks) == STACKS == len({stack.id for stack in total.stacks})
    assert sorted(map(user_names, total.stacks)) == sorted(map(path_of, range(STACKS)))
    for stack in total.stacks:
        kernel = [frame for frame in stack.frames if frame.kernel]
        assert kernel[-1].symbol.startswith("entry_SYSCALL_64")
        assert all(frame.dso == "[kernel.kallsyms]" for frame in kernel)


def test_each_row_has_the_stack_of_its_call(daemon: Daemon, build: Callable[[str], Path]) -> None:
    with running(build("stacks"), 2) as program, daemon.connect() as host:
        total = trace_while(host, request(program, GETPPID), program.make)

    names = {stack.id: user_names(stack) for stack in total.stacks}
    assert [names[number] for number in stack_ids(total)] == 2 * list(map(path_of, range(STACKS)))


def stack_ids(total: Total) -> list[int]:
    """What the rows of the first event have in their column of stacks, by time."""
    column = next(field for field in total.schemas[0].fields if field.name == "_callchain")
    rows = [
        batch.rows[start : start + total.schemas[0].row_size]
        for batch in total.batches
        for start in range(0, len(batch.rows), total.schemas[0].row_size)
    ]
    # A program may go on on another CPU; the first column is _time.
    rows.sort(key=lambda row: int.from_bytes(row[:8], "little"))
    return [int.from_bytes(row[column.offset : column.offset + 4], "little") for row in rows]


@pytest.mark.parametrize(
    ("stacks", "parts"),
    [
        (pb.Stacks(kernel=True), {True}),
        (pb.Stacks(user=True), {False}),
        (pb.Stacks(kernel=True, user=True, max_depth=3), {True, False}),
    ],
    ids=["kernel", "user", "three frames"],
)
def test_parts_and_depth_are_as_asked_for(
    daemon: Daemon, build: Callable[[str], Path], stacks: pb.Stacks, parts: set[bool]
) -> None:
    with running(build("stacks"), 1) as program, daemon.connect() as host:
        total = trace_while(host, request(program, GETPPID, stacks), program.make)

    assert total.stacks
    for stack in total.stacks:
        assert {frame.kernel for frame in stack.frames} == parts
        if stacks.max_depth:
            assert [frame.kernel for frame in stack.frames] == 3 * [True] + 3 * [False]


def test_stacks_are_for_the_events_whose_selector_asks(
    daemon: Daemon, build: Callable[[str], Path]
) -> None:
    selectors = [f"{GETPPID}//max-stack=2/", f"{GETPPID}//alias=plain/"]
    with running(build("stacks"), 1) as program, daemon.connect() as host:
        asked = pb.TraceRequest(selectors=selectors, scope=pb.Scope(pids=[program.pid]))
        total = trace_while(host, asked, program.make)

    assert [schema.stack for schema in total.schemas] == [True, False]
    assert {len(stack.frames) for stack in total.stacks} == {4}
    assert total.delivered == {1: STACKS, 2: STACKS}


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two programs of exec.c, which have the functions alpha and betas at one address."""
    directory = tmp_path_factory.mktemp("exec")
    flags = ["-O0", "-static", "-no-pie", HERE / "exec.c"]
    for name in ("alpha", "betas"):
        subprocess.run(["gcc", f"-DNAME={name}", "-o", directory / name, *flags], check=True)
    return directory / "alpha", directory / "betas"


def leaves(total: Total) -> list[str]:
    names = {stack.id: stack.frames[0].symbol for stack in total.stacks}
    return [names[number] for number in stack_ids(total)]


def test_a_program_that_another_has_become_has_its_own_names(
    daemon: Daemon, programs: tuple[Path, Path]
) -> None:
    alpha, betas = programs
    # GIVEN somebody who wants stacks: then it is known from its start what the program is
    other = pb.TraceRequest(selectors=["sched:sched_process_exit"], stacks=pb.Stacks(user=True))
    with daemon.connect() as host, host.open(other), running(alpha, 1, 1, betas) as program:
        total = trace_while(host, request(program, GETPPID, pb.Stacks(user=True)), program.make)

    assert leaves(total) == ["alpha", "betas"]


def test_stacks_that_nobody_reads_are_not_captured(
    daemon: Daemon, build: Callable[[str], Path]
) -> None:
    projections = [pb.Projection(event=GETPPID, fields=["_pid"])]
    with running(build("stacks"), 1) as program, daemon.connect() as host:
        asked = request(program, GETPPID, projections=projections)
        total = trace_while(host, asked, program.make)

    assert not total.stacks
    assert total.schemas[0].row_size == 12


def test_many_events_that_share_a_ring_have_stacks_too(
    daemon: Daemon, build: Callable[[str], Path]
) -> None:
    with running(build("stacks"), 1) as program, daemon.connect() as host:
        total = trace_while(host, request(program, "syscalls:sys_enter_get*"), program.make)

    (getppid,) = (schema for schema in total.schemas if schema.name == "sys_enter_getppid")
    assert len(total.schemas) > 8
    assert total.delivered[getppid.id] == STACKS
    assert {tuple(user_names(stack)) for stack in total.stacks} >= {
        tuple(path_of(number)) for number in range(STACKS)
    }


def test_switches_at_a_high_rate_with_stacks_are_not_lost(
    daemon: Daemon, build: Callable[[str], Path]
) -> None:
    count = 300_000
    with running(build("switches"), count) as program, daemon.connect() as host:
        total = trace_while(host, request(program, "sched:sched_switch"), program.make)

    assert total.delivered[1] >= count
    assert not total.lost
