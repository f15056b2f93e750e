"""Profiles of programs whose time is known, beside perf's of the same run."""

from __future__ import annotations

import re
import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from processes import Daemon, running
from streams import Total, read_to_end, trace_while

from ptrace_client.host import Host
from ptrace_proto import ptrace_pb2 as pb

# Three standard deviations of the shares of 2,000 samples are less.
ERROR = 0.04


def profile(pid: int, options: str = "-F 999 -g") -> pb.TraceRequest:
    return pb.TraceRequest(
        selectors=[f"profile/{options}/"],
        projections=[pb.Projection(event="profile", fields=["callchain"])],
        scope=pb.Scope(pids=[pid]),
    )


def chains(total: Total) -> Counter[tuple[str, ...]]:
    """How many samples had each chain of user functions, leaf first."""
    (schema,) = total.schemas
    column = next(field for field in schema.fields if field.kind == pb.FIELD_KIND_STACK)
    names = {
        stack.id: tuple(frame.symbol for frame in stack.frames if not frame.kernel)
        for stack in total.stacks
    }
    numbers = (
        int.from_bytes(batch.rows[start : start + 4], "little")
        for batch in total.batches
        for start in range(column.offset, len(batch.rows), schema.row_size)
    )
    return Counter(names[number] for number in numbers if number)


def shares(leaves: Counter[str]) -> dict[str, float]:
    return {name: leaves[name] / leaves.total() for name in ("hot", "warm", "spin")}


def profile_beside_perf(host: Host, binary: Path, folder: Path) -> tuple[Total, str]:
    """The profile of a run of hot.c, and what perf script says of perf's."""
    data = folder / "perf.data"
    # Of the user only: perf 6.1 does not survive the build id of every kernel.
    record = ["perf", "record", "-q", "-e", "cpu-clock:u", "-F", "999", "-g", "-o", data]
    # A shell that waits to become perf: its children are followed from the start.
    shell = subprocess.Popen(
        ["sh", "-c", 'read go; exec "$@"', "sh", *record, "--", binary, "200", "1"],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
    )
    with host.open(profile(shell.pid)) as stream:
        shell.communicate(b"go\ngo\n")
        stream.stop()
        total = read_to_end(stream, Total(schemas=list(stream.started.schemas)))
    script = ["perf", "script", "-i", data, "-F", "ip,sym"]
    done = subprocess.run(script, capture_output=True, text=True, check=False)
    assert not done.returncode, done
    return total, done.stdout


def test_a_hot_function_is_on_top_with_its_callers_as_perf_has_it(
    daemon: Daemon, build: Callable[[str], Path], tmp_path: Path
) -> None:
    with daemon.connect() as host:
        total, by_perf = profile_beside_perf(host, build("hot"), tmp_path)

    ours = Counter({chain: n for chain, n in chains(total).items() if "outer" in chain})
    leaves: Counter[str] = Counter()
    for chain, count in ours.items():
        leaves[chain[0]] += count
    assert not total.lost
    assert leaves.total() > 1000
    assert leaves.most_common(1)[0][0] == "hot"
    (top, _), *_ = ours.most_common()
    assert top[:3] == ("hot", "outer", "main")
    assert ("spin", "cold", "outer", "main") in {chain[:4] for chain in ours}

    theirs = Counter(
        sample.split("\n")[0].split()[1]
        for sample in re.split(r"\n\n+", by_perf.strip("\n"))
        if " outer\n" in sample
    )
    expected = shares(theirs)
    for name, share in shares(leaves).items():
        assert abs(share - expected[name]) < ERROR, (leaves, theirs)


def test_a_profile_of_kernel_or_user_only_has_nothing_else(
    daemon: Daemon, build: Callable[[str], Path]
) -> None:
    with running(build("hot"), 30) as program, daemon.connect() as host:
        total = trace_while(host, profile(program.pid, "-F 999 -g --exclude-kernel"), program.make)

    assert total.delivered[1] > 100
    assert not any(frame.kernel for stack in total.stacks for frame in stack.frames)


def resident(pids: list[int]) -> int:
    """Memory that these processes hold, bytes."""
    found = 0
    for pid in pids:
        status = Path(f"/proc/{pid}/status").read_text()
        found += int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]) << 10  # type: ignore[index]
    return found


def with_children(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(each for child in children for each in with_children(int(child)))]


def profile_short_lives(host: Host, binary: Path, count: int) -> Counter[bool]:
    """Whether user frames of short-lived processes have names, over all of their stacks."""
    with running(binary, count) as program:
        total = trace_while(host, profile(program.pid), program.make)
    assert total.delivered[1] > count
    assert not total.lost
    return Counter(
        bool(frame.symbol) for stack in total.stacks for frame in stack.frames if not frame.kernel
    )


def test_processes_that_live_five_milliseconds_have_names_and_memory_is_bounded(
    daemon: Daemon, build: Callable[[str], Path]
) -> None:
    with daemon.connect() as host:
        # GIVEN a daemon that has seen some
        profile_short_lives(host, build("shortlived"), 1000)
        before = resident(with_children(daemon.pid))
        # WHEN ten times as many follow
        named = profile_short_lives(host, build("shortlived"), 10_000)
        grown = resident(with_children(daemon.pid)) - before

    assert named[True] / named.total() >= 0.95
    # All that is kept of processes and stacks that are gone; each has had several KiB.
    assert grown < 64 << 20
