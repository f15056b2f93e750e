"""How fast a recording is read: `perf script -s` and `ptrace-client run -i`, the same script."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from peers import PerfFile
from processes import Account
from producer import Producer
from tool import HANDLERS

# Handlers for the producer's calls.
_OF_CALLS = ("count", "fields")
# What is sampled for the handler of stacks: some seconds of Python, and of the kernel.
_SAMPLED = """
import json, os
for number in range(160000):
    json.loads(json.dumps(list(range(100))))
    os.listdir("/proc/self")
"""
_CLIENT = Path(sys.executable).with_name("ptrace-client")


@dataclass(frozen=True)
class Reading:
    """One reading: events a second from start to end of the program, and CPU s per million."""

    rate: float
    cpu_per_million: float


def record(directory: Path, producer: Producer, calls: int) -> Path:
    """Record the producer's calls by `perf record`; return the file."""
    tool = PerfFile(directory, calls)
    with tool.start() as run:
        run.wait_until_traced()
        producer.calls(calls)
        run.finish(Account(run.pids()))
        # Some that it lost do no harm: what is read is counted.
        if not run.summary().count:
            raise RuntimeError("perf record has no events")
    return tool.file


def recordings(directory: Path, producer: Producer, calls: int) -> dict[str, Path]:
    """Record what is to be read; return the file for each handler."""
    file, stacks = record(directory, producer, calls), directory / "stacks.data"
    sample = ["perf", "record", "-q", "-F", "20000", "-e", "cpu-clock", "-g", "-o", stacks, "--"]
    subprocess.run([*sample, sys.executable, "-c", _SAMPLED], check=True)
    return {**dict.fromkeys(_OF_CALLS, file), "stacks": stacks}


def measure_reading(file: Path, handler: str) -> dict[str, Reading]:
    """Read a recording by both, in turn; by the name of the program."""
    script = HANDLERS / f"perf_{handler}.py"
    return {
        "perf script": _read(["perf", "script", "-i", file, "-s", script]),
        "ptrace-client run -i": _read([_CLIENT, "run", "--input", file, script]),
    }


def _read(command: Sequence[str | Path]) -> Reading:
    started = time.monotonic()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        output = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.monotonic() - started
    if process.returncode:
        raise RuntimeError(f"{command[0]} ended with status {process.returncode}")
    count = json.loads(output.splitlines()[-1])["count"]
    return Reading(count / seconds, (usage.ru_utime + usage.ru_stime) / count * 1e6)
