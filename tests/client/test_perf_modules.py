"""The modules that scripts for `perf script` import, by themselves."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import ptrace_client

TRACE = Path(ptrace_client.__file__).parent / (
    "perf_exec/scripts/python/Perf-Trace-Util/lib/Perf/Trace"
)


def run(text: str) -> str:
    """Return what a program prints that finds the modules as scripts do."""
    program = f"import sys; sys.path.append({str(TRACE)!r})\n{text}"
    return subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout


def test_system_calls_are_named_for_the_host_that_was_traced() -> None:
    text = """
from Util import syscall_name
from ptrace_client.syscall_names import set_traced_machine
for machine in "x86_64", "aarch64", "s390x":
    set_traced_machine(machine)
    print(syscall_name(56), syscall_name(17), syscall_name(1023))
"""
    assert run(text) == "clone pread 1023\nopenat getcwd 1023\n56 17 1023\n"


def test_nothing_is_said_about_missing_libraries() -> None:
    assert run("import Util, Core") == ""
