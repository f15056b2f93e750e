"""The list of scripts beside perf's own."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from ptrace_client.cli import execute
from ptrace_client.perf_script import catalogue
from ptrace_client.perf_script.script_events import events_for

PERFS = Path("/usr/lib/perf-core/scripts")


def test_the_list_has_perfs_lines(capsys: pytest.CaptureFixture[str]) -> None:
    listed = subprocess.run(["perf", "script", "-l"], capture_output=True, text=True, check=True)
    head, *lines = listed.stdout.splitlines()
    names = {path.stem for path in (PERFS / "python").glob("*.py")}
    wanted = [line.rstrip() for line in lines if line.split()[0] in names]
    assert len(wanted) > 15

    assert execute(["scripts"]) == 0
    ours = capsys.readouterr().out.splitlines()
    assert ours[0] == head
    assert ours[1 : len(wanted) + 1] == sorted(wanted, key=lambda line: line.split()[0])


# What the record files say, by hand; the others leave it to the user: perf's default.
EVENTS = {
    "compaction-times": 5,
    "failed-syscalls-by-pid": "raw_syscalls:sys_exit",
    "flamegraph": "cpu-clock",
    "futex-contention": "syscalls:sys_enter_futex,syscalls:sys_exit_futex",
    "net_dropmonitor": "skb:kfree_skb",
    "netdev-times": 13,
    "powerpc-hcalls": "powerpc:hcall_entry,powerpc:hcall_exit",
    "sched-migration": 4,
    "sctop": "raw_syscalls:sys_enter",
    "stackcollapse": "cpu-clock",
    "syscall-counts": "raw_syscalls:sys_enter",
    "syscall-counts-by-pid": "raw_syscalls:sys_enter",
}


@pytest.mark.parametrize(("name", "events"), EVENTS.items())
def test_events(name: str, events: str | int) -> None:
    choice = events_for(PERFS / "python" / f"{name}.py")
    found = ",".join(choice.selectors) if isinstance(events, str) else len(choice.selectors)
    assert found == events
    assert choice.origin == str(PERFS / f"python/bin/{name}-record")
    assert choice.call_graph == (name == "flamegraph")


def test_a_file_that_asks_perf_what_there_is() -> None:
    choice = events_for(PERFS / "python/mem-phys-addr.py")
    assert (choice.selectors, choice.is_guess) == (("cpu-clock",), True)


def test_all_scripts_with_files_are_found() -> None:
    names = {file.name.removesuffix("-report") for file in PERFS.glob("python/bin/*-report")}
    assert names == {script.name for script in catalogue.catalogue()}
