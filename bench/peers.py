"""The other tools: BCC's Python callbacks, perf record with perf script, bpftrace."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from attached import wait_until_attached
from producer import EVENT
from tool import HANDLERS, PATIENCE, Run, Summary, Tool

# All CPUs, like the other tools; disabled until told; with the clock that handlers can read.
_RECORD = ("perf", "record", "-q", "-a", "-D", "-1", "-k", "CLOCK_MONOTONIC", "-e", EVENT)


class Bcc(Tool):
    """BCC with a Python callback per event on its `perf` or `ring` buffer."""

    def __init__(self, headers: Path, buffer: str, handler: str, calls: int) -> None:
        self.name = f"BCC, {buffer} buffer callback"
        self.handler, self.calls = handler, calls
        self._command: Sequence[str | Path] = [
            sys.executable,
            HANDLERS / "bcc_callback.py",
            buffer,
            handler,
        ]
        self._environment = {**os.environ, "BCC_KERNEL_SOURCE": str(headers)}

    def start(self) -> Run:
        return _BccRun(self._command, self._environment)


class _BccRun(Run):
    def __init__(self, command: Sequence[str | Path], environment: dict[str, str]) -> None:
        super().__init__()
        self._process = self.spawn(command, env=environment)

    def wait_until_traced(self) -> None:
        self.expect(self._process, "ready")

    def summary(self) -> Summary:
        return self.counted(self._process)


class PerfPipe(Tool):
    """perf record, piped into perf script with a handler."""

    name = "perf record, piped into perf script"

    def __init__(self, handler: str, calls: int) -> None:
        self.handler, self.calls = handler, calls

    def start(self) -> Run:
        return _PerfPipeRun(HANDLERS / f"perf_{self.handler}.py")


class PerfFile(Tool):
    """perf record into a file, which nothing reads."""

    name = "perf record, into a file"
    handler = "none"

    def __init__(self, directory: Path, calls: int) -> None:
        self.calls = calls
        self.file = directory / "perf.data"

    def start(self) -> Run:
        return _PerfFileRun(self.file)


class _PerfRun(Run):
    """perf record, which starts disabled and acknowledges the command that enables it."""

    def __init__(self, output: str | Path, stdout: int) -> None:
        super().__init__()
        control, self._control = os.pipe()
        self._acknowledged, acknowledge = os.pipe()
        self.record = self.spawn(
            [*_RECORD, "--control", f"fd:{control},{acknowledge}", "-o", output],
            stdout=stdout,
            pass_fds=(control, acknowledge),
        )
        os.close(control)
        os.close(acknowledge)

    def wait_until_traced(self) -> None:
        os.write(self._control, b"enable\n")
        if not os.read(self._acknowledged, 16).startswith(b"ack"):
            raise self.failure("perf record did not start")

    def __exit__(self, *error: object) -> None:
        os.close(self._control)
        os.close(self._acknowledged)
        super().__exit__(*error)  # type: ignore[arg-type]


class _PerfPipeRun(_PerfRun):
    def __init__(self, script: Path) -> None:
        reading, writing = os.pipe()
        super().__init__("-", writing)
        os.close(writing)
        self._script = self.spawn(["perf", "script", "-i", "-", "-s", script], stdin=reading)
        os.close(reading)

    def summary(self) -> Summary:
        return self.counted(self._script)


class _PerfFileRun(_PerfRun):
    def __init__(self, file: Path) -> None:
        super().__init__(file, subprocess.DEVNULL)
        self._file = file

    def summary(self) -> Summary:
        command: list[str | Path] = ["perf", "report", "-i", self._file, "--stats"]
        answer = subprocess.run(command, capture_output=True, text=True, check=True)
        samples = re.search(r"SAMPLE events:\s*(\d+)", answer.stdout)
        return Summary(int(samples[1]) if samples else 0, {})


class Bpftrace(Tool):
    """bpftrace, counting in the kernel."""

    name = "bpftrace"
    handler = "count in the kernel"

    def __init__(self, calls: int) -> None:
        self.calls = calls

    def start(self) -> Run:
        return _BpftraceRun()


class _BpftraceRun(Run):
    def __init__(self) -> None:
        super().__init__()
        program = f"tracepoint:{EVENT} {{ @ = count(); }}"
        self._process = self.spawn(["bpftrace", "-e", program])

    def wait_until_traced(self) -> None:
        wait_until_attached(self._process.pid, EVENT.partition(":")[2], PATIENCE)

    def summary(self) -> Summary:
        assert self._process.stdout is not None
        counted = re.search(r"^@: (\d+)$", self._process.stdout.read(), re.MULTILINE)
        if counted is None:
            raise self.failure("bpftrace ended without a count")
        return Summary(int(counted[1]), {})
