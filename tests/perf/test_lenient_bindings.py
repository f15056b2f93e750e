"""Handlers whose arguments are not today's run all the same; --strict aborts as perf does."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest
from recordings import Recorder
from sidebyside import run_both, run_ours

pytestmark = pytest.mark.needs_kernel("tracefs", "perf events")

COMMON: Final = (
    "event_name, context, common_cpu, common_secs, common_nsecs, common_pid, common_comm"
)
CHAIN: Final = f"{COMMON}, common_callchain"


@dataclass(frozen=True)
class Case:
    """A handler: its parameters, the expression that it prints, what each line looks like."""

    event: str
    parameters: str
    shown: str
    line: str
    # Whether real perf runs it (in its way: it may take the sample for a field).
    runs_under_perf: bool = False
    # What the one warning says; empty for none.
    warning: str = ""


KMALLOC: Final = "kmem__kmalloc"
WAKEUP: Final = "sched__sched_wakeup"
CASES: Final = {
    "of today": Case(
        KMALLOC,
        f"{CHAIN}, call_site, ptr, bytes_req, bytes_alloc, gfp_flags, node",
        "bytes_req, node",
        r"\d+ \d+",
        runs_under_perf=True,
    ),
    "with the sample": Case(
        KMALLOC,
        f"{CHAIN}, call_site, ptr, bytes_req, bytes_alloc, gfp_flags, node, sample",
        "bytes_req, sample['ev_name']",
        r"\d+ kmem:kmalloc",
        runs_under_perf=True,
    ),
    "any arguments": Case(KMALLOC, "*arguments", "len(arguments)", "14", runs_under_perf=True),
    "a field fewer": Case(
        KMALLOC,
        f"{CHAIN}, call_site, ptr, bytes_req, bytes_alloc, gfp_flags",
        "bytes_req, bytes_alloc, common_callchain",
        r"\d+ \d+ \[\]",
        warning=r"kmem__kmalloc.*node",
    ),
    "the man page's": Case(
        KMALLOC,
        f"{COMMON}, call_site, ptr, bytes_req, bytes_alloc, gfp_flags, node",
        "common_comm, bytes_req",
        r".+ \d+",
        warning="kmem__kmalloc.*common_callchain",
    ),
    "some fields in another order": Case(
        KMALLOC,
        f"{CHAIN}, ptr, call_site",
        "ptr > 1 << 60, call_site > 1 << 60",
        "True True",
        warning="kmem__kmalloc",
    ),
    "a field that is gone, with a default": Case(
        KMALLOC, f"{CHAIN}, call_site, other='none'", "other", "none", warning="kmem__kmalloc"
    ),
    "a field that kernels once had": Case(
        WAKEUP,
        f"{CHAIN}, comm, pid, prio, success, target_cpu",
        "success, target_cpu",
        r"1 [01]",
        runs_under_perf=True,
        warning="sched__sched_wakeup.*success",
    ),
}


def _script(folder: Path, case: Case) -> Path:
    path = folder / "script.py"
    path.write_text(
        f"def {case.event}({case.parameters}):\n    print({case.shown})\n\n"
        "def trace_end():\n    print('end')\n"
    )
    return path


@pytest.mark.parametrize("name", CASES)
def test_a_handler_is_bound_as_it_was_meant(recording: Recorder, name: str, tmp_path: Path) -> None:
    case = CASES[name]

    ours = run_ours(recording("systems"), _script(tmp_path, case))

    assert ours.status == 0, ours.stderr
    *lines, last = ours.stdout.splitlines()
    assert last == "end"
    assert len(lines) > 3
    assert not [line for line in lines if not re.fullmatch(case.line, line)]
    warnings = ours.stderr.splitlines()
    assert len(warnings) == bool(case.warning), warnings
    assert not warnings or re.search(case.warning, warnings[0])


@pytest.mark.parametrize("name", CASES)
def test_strict_does_what_perf_does(recording: Recorder, name: str, tmp_path: Path) -> None:
    case = CASES[name]
    script = _script(tmp_path, case)

    perfs, strict = run_both(recording("systems"), script, own_options=("--strict",))

    assert perfs.shell_status == (0 if case.runs_under_perf else 134)
    assert strict.shell_status == perfs.shell_status
    if case.runs_under_perf:
        assert strict.stdout == perfs.stdout
    else:
        assert _error(strict.stderr) == _error(perfs.stderr)


def _error(text: str) -> list[str]:
    """What both print of an exception and of the end that it brings."""
    return re.findall(r"^(?:TypeError|Fatal Python error): .*", text, re.MULTILINE)
