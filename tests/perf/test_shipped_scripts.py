"""Every script that perf ships gives the same under perf and under ptrace-client."""

from __future__ import annotations

import json
import re
import struct
from pathlib import Path
from typing import Final

import pytest
from made_recording import write
from recordings import HERE, SHIPPED, Recorder
from sidebyside import first_difference, run_both, run_ours

from ptrace_formats.event_format import EventFormat, parse_format

pytestmark = pytest.mark.needs_kernel("tracefs", "perf events")

# (script, recording, arguments): standard output and status are the same.
SAME: Final = (
    ("arm-cs-trace-disasm", "renamed"),
    ("arm-cs-trace-disasm", "renamed", "-v"),
    ("check-perf-trace", "plain-net"),
    ("compaction-times", "systems"),
    ("compaction-times", "systems", "-h"),
    ("compaction-times", "systems", "-p", "-u"),
    ("compaction-times", "systems", "-pv", "-t", "-m", "-ms"),
    ("compaction-times", "systems", "-fs", "-p", "pyt.*"),
    ("event_analyzing_sample", "faults"),
    ("event_analyzing_sample", "syscalls"),
    ("failed-syscalls-by-pid", "syscalls"),
    ("failed-syscalls-by-pid", "systems", "python"),
    ("flamegraph", "stacks"),
    ("flamegraph", "stacks", "-f", "json", "-o", "-"),
    ("flamegraph", "tracepoint-stacks", "-f", "json", "-o", "-"),
    ("futex-contention", "futexes"),
    ("intel-pt-events", "renamed"),
    ("intel-pt-events", "switches", "--all-switch-events"),
    ("intel-pt-events", "system-wide", "--all-switch-events"),
    ("intel-pt-events", "renamed", "--src-trace"),
    ("intel-pt-events", "renamed", "--insn-trace"),
    ("mem-phys-addr", "physical"),
    ("netdev-times", "plain-net"),
    ("netdev-times", "plain-net", "tx", "rx", "dev=lo", "debug"),
    ("stackcollapse", "stacks"),
    ("stackcollapse", "stacks", "--include-tid", "--kernel", "--tidy-java"),
    ("stackcollapse", "stacks", "--no-comm"),
    ("stat-cpi", "stat"),
    ("stat-cpi", "stat-of-cpus"),
    ("syscall-counts", "syscalls"),
    ("syscall-counts", "compressed", "workload"),
    ("syscall-counts-by-pid", "syscalls"),
    ("syscall-counts-by-pid", "syscalls", "workload"),
)
# What perf aborts on, since events have more fields today: what ours prints has lines of these
# patterns, in this order.
SENSIBLE: Final = (
    (
        "check-perf-trace",
        r"kmem__kmalloc .*\n.*call_site=\d+, ptr=\d+, bytes_req=\d+, .*gfp_flags=__GFP_",
        r"unhandled events:",
        r"raw_syscalls__sys_enter +\d+",
    ),
    ("net_dropmonitor", r" +LOCATION +OFFSET +COUNT", r"^ *\w+ +\d+ +\d+$"),
    ("netdev-times", r" +dev +len +Qdisc +netdevice +free", r"^ +lo +\d+ +[\d.]+sec"),
)
# Why there is nothing to compare.
NOT_COMPARED: Final = {
    "powerpc-hcalls": "needs a PowerPC: compared with events that are made up",
    "export-to-postgresql": "needs a PostgreSQL server",
    "export-to-sqlite": "its database is compared: test_db_export.py",
    "exported-sql-viewer": "a program with a graphical interface, no script for perf",
    "libxed": "a library of intel-pt-events",
    "sched-migration": "a graphical interface; it runs with what stands in for that",
    "sctop": "prints when its time comes",
}


def _named(name: str) -> Path:
    return SHIPPED / f"{name}.py"


def test_no_shipped_script_is_forgotten() -> None:
    tested = {case[0] for case in (*SAME, *SENSIBLE)} | set(NOT_COMPARED)

    assert {path.stem for path in SHIPPED.glob("*.py")} == tested


@pytest.mark.parametrize("case", SAME, ids=" ".join)
def test_a_script_gives_what_it_gives_under_perf(
    recording: Recorder, case: tuple[str, ...], tmp_path: Path
) -> None:
    script, name, *args = case
    data = recording(name)

    perfs, ours = run_both(data, _named(script), *args, cwd=tmp_path)

    difference = first_difference(perfs.stdout, ours.stdout)
    assert not difference, f"{difference}\n{ours.stderr}"
    assert ours.shell_status == perfs.shell_status, ours.stderr


@pytest.mark.parametrize("case", SENSIBLE, ids=lambda case: case[0])
def test_a_script_goes_on_where_perf_aborts(recording: Recorder, case: tuple[str, ...]) -> None:
    script, *patterns = case

    perfs, ours = run_both(recording("systems"), _named(script))

    assert perfs.shell_status == 134
    assert ours.status == 0, ours.stderr
    rest = ours.stdout
    for pattern in patterns:
        found = re.search(pattern, rest, re.MULTILINE)
        assert found, f"no {pattern!r} in:\n{rest[:2000]}"
        rest = rest[found.end() :]


def test_sched_migration_gets_as_far_as_its_window(recording: Recorder) -> None:
    """Under perf it fails at its first event; painting fails by its own division."""
    script = _named("sched-migration")

    ours = run_ours(recording("wakeups"), script, python_path=HERE / "standin")

    assert (ours.stdout, ours.status) == ("windows: Migration\n", 0), ours.stderr


def _hcall_format(number: int, name: str, fields: str) -> tuple[EventFormat, str]:
    """A tracepoint that only PowerPC has."""
    text = (
        f"name: {name}\nID: {number}\nformat:\n"
        "\tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;\n"
        "\tfield:unsigned char common_flags;\toffset:2;\tsize:1;\tsigned:0;\n"
        "\tfield:unsigned char common_preempt_count;\toffset:3;\tsize:1;\tsigned:0;\n"
        "\tfield:int common_pid;\toffset:4;\tsize:4;\tsigned:1;\n\n"
        f'{fields}\nprint fmt: "opcode=%lu", REC->opcode\n'
    )
    return parse_format("powerpc", text), text


def test_hypervisor_calls_are_counted_as_under_perf(tmp_path: Path) -> None:
    opcode = "\tfield:unsigned long opcode;\toffset:8;\tsize:8;\tsigned:0;\n"
    retval = "\tfield:long retval;\toffset:16;\tsize:8;\tsigned:1;\n"
    formats = [
        _hcall_format(301, "hcall_entry", opcode),
        _hcall_format(302, "hcall_exit", opcode + retval),
    ]
    entries = [struct.pack("<HBBiQ", 301, 0, 0, 42, call) for call in (4, 8, 776)]
    exits = [struct.pack("<HBBiQq", 302, 0, 0, 42, call, -1) for call in (8, 4, 776, 4)]
    write(tmp_path / "hcalls.data", formats, [entries, exits])

    perfs, ours = run_both(tmp_path / "hcalls.data", _named("powerpc-hcalls"))

    assert len(perfs.stdout.splitlines()) == 5
    assert (ours.stdout, ours.status) == (perfs.stdout, perfs.status), ours.stderr


def test_flamegraphs_count_all_samples(recording: Recorder) -> None:
    ours = run_ours(recording("stacks"), _named("flamegraph"), "-f", "json", "-o", "-")

    def samples(node: dict) -> int:  # type: ignore[type-arg]
        return node["v"] + sum(samples(child) for child in node["c"])

    assert samples(json.loads(ours.stdout)) > 20


def test_a_thread_of_a_script_does_not_hold_up_its_end(recording: Recorder) -> None:
    for run in run_both(recording("syscalls"), _named("sctop"), "1000"):
        assert run.status == 0, run.stderr
        assert "\nsyscall events:\n" in run.stdout
