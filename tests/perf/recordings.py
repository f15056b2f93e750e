"""The recordings that tests share, made by real perf: a table, and who makes them."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).parent
# Where perf's own scripts and modules are installed.
PERF_EXEC_PATH: Final = Path("/usr/lib/perf-core")
SHIPPED: Final = PERF_EXEC_PATH / "scripts/python"
# No recording takes longer, and no script takes longer over one.
TIMEOUT: Final = 60.0


@dataclass(frozen=True)
class Wanted:
    """A recording: options of `perf record`, and arguments of workload.c's program.

    In both, {name} is put in: workload is the program's path.
    """

    options: Sequence[str]
    workload: Sequence[str]


# By name, as tests ask for them.
RECORDINGS: Final[dict[str, Wanted]] = {
    # Tracepoints of one process and its children.
    "syscalls": Wanted(
        ("-e", "raw_syscalls:*", "-e", "sched:sched_switch,sched:sched_process_*"),
        ("calls", "2000", "children", "6"),
    ),
    # Stacks of user and kernel code.
    "stacks": Wanted(
        ("-e", "cpu-clock", "-F", "1000", "-g"),
        ("spin", "60", "touch", "3000", "children", "10"),
    ),
}


def perf() -> str:
    """Return the path of perf, which deploy/bootstrap installs; fail where it is missing."""
    path = shutil.which("perf")
    assert path, "perf is missing: deploy/bootstrap installs linux-perf"
    return path


class Recorder:
    """Makes each recording once, in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._workload: Path | None = None

    @property
    def workload(self) -> Path:
        """The compiled program of workload.c."""
        if self._workload is None:
            self._workload = self.folder / "workload"
            source = HERE / "workload.c"
            command = ["gcc", "-g", "-O1", "-fno-omit-frame-pointer", "-fno-inline"]
            subprocess.run([*command, "-o", self._workload, source], check=True)
        return self._workload

    def __call__(self, name: str) -> Path:
        """Return the path of a recording of RECORDINGS, which is made where it is not there."""
        path = self.folder / f"{name}.data"
        if not path.exists():
            self._make(RECORDINGS[name], path)
        return path

    def _make(self, wanted: Wanted, path: Path) -> None:
        places = {"workload": str(self.workload)}
        options = [option.format(**places) for option in wanted.options]
        command = [
            perf(),
            "record",
            "-q",
            "-N",
            "-o",
            str(path),
            *options,
            "--",
            str(self.workload),
        ]
        done = subprocess.run(
            [*command, *wanted.workload],
            cwd=self.folder,
            env=clean_environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
        )
        assert path.exists(), f"perf record made nothing: {done.stderr}"


def clean_environment(**more: str) -> dict[str, str]:
    """Return an environment in which perf reads no settings of whoever runs the tests."""
    kept = {name: os.environ[name] for name in ("PATH", "TMPDIR") if name in os.environ}
    return {**kept, "LC_ALL": "C.UTF-8", "PERF_CONFIG": "/dev/null", "PAGER": "cat", **more}
