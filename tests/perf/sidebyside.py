"""Runs a script over a recording under perf and under ptrace-client, and tells both results."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from recordings import PERF_EXEC_PATH, clean_environment, perf

# Seconds that no script takes over a recording.
TIMEOUT: Final = 100.0
CLIENT: Final = str(Path(sys.executable).with_name("ptrace-client"))


# perf's event_analyzing_sample adds to a file in /dev/shm: each run has its own. Nor does perf's
# abort where a script fails leave a core dump.
_ALONE: Final = (
    *("unshare", "--mount", "sh", "-c"),
    'mount -t tmpfs tmpfs /dev/shm && ulimit -c 0 && exec "$@"',
    "sh",
)


@dataclass(frozen=True)
class Run:
    """What a run wrote, and its exit status; negative by a signal's number."""

    stdout: str
    stderr: str
    status: int

    @property
    def shell_status(self) -> int:
        """The status as a shell gives it: 134 for SIGABRT."""
        return self.status if self.status >= 0 else 128 - self.status


def run_perf(
    recording: Path,
    script: Path,
    *args: str,
    options: Sequence[str] = (),
    cwd: Path | None = None,
    exec_path: Path = PERF_EXEC_PATH,
) -> Run:
    """Run `perf script -s` over a recording. `options` are perf's own."""
    command = [perf(), "script", *options, "-i", str(recording), "-s", str(script), *_behind(args)]
    environment = clean_environment(PERF_EXEC_PATH=str(exec_path))
    return _run(command, recording, cwd, environment)


def run_ours(
    recording: Path,
    script: Path,
    *args: str,
    options: Sequence[str] = (),
    cwd: Path | None = None,
    python_path: Path | None = None,
) -> Run:
    """Run `ptrace-client run` over a recording. `options` are its own.

    Python finds modules in `python_path`, too.
    """
    command = [CLIENT, "run", *options, "--input", str(recording), str(script), *_behind(args)]
    more = {} if python_path is None else {"PYTHONPATH": str(python_path)}
    return _run(command, recording, cwd, clean_environment(**more))


def run_both(
    recording: Path,
    script: Path,
    *args: str,
    options: Sequence[str] = (),
    own_options: Sequence[str] = (),
    cwd: Path | None = None,
) -> tuple[Run, Run]:
    """Run a script over a recording under perf and, meanwhile, under ptrace-client.

    `options` are for both, `own_options` for ptrace-client alone.
    """
    return together(
        lambda: run_perf(recording, script, *args, options=options, cwd=cwd),
        lambda: run_ours(recording, script, *args, options=(*options, *own_options), cwd=cwd),
    )


def together(one: Callable[[], Run], other: Callable[[], Run]) -> tuple[Run, Run]:
    """Make two runs at the same time."""
    with ThreadPoolExecutor() as pool:
        first, second = pool.submit(one), pool.submit(other)
        return first.result(), second.result()


def _behind(args: Sequence[str]) -> Sequence[str]:
    """What stands behind a script: its arguments, of which perf takes none after `--`."""
    return ("--", *args) if args else ()


def _run(
    command: Sequence[str], recording: Path, cwd: Path | None, environment: dict[str, str]
) -> Run:
    done = subprocess.run(
        [*_ALONE, *command],
        cwd=cwd or recording.parent,
        env={**environment, "PYTHONHASHSEED": "0"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=TIMEOUT,
    )
    return Run(
        done.stdout.decode(errors="surrogateescape"),
        done.stderr.decode(errors="surrogateescape"),
        done.returncode,
    )


def first_difference(perfs: str, ours: str) -> str:
    """Return the first line that differs, as both have it; empty where none does."""
    if perfs == ours:
        return ""
    for number, (left, right) in enumerate(
        zip(perfs.splitlines(), ours.splitlines(), strict=False), 1
    ):
        if left != right:
            pairs = enumerate(zip(left, right, strict=False))
            place = next((at for at, (one, other) in pairs if one != other), len(left))
            start = max(place - 60, 0)
            return (
                f"line {number}, character {place}:\n"
                f"perf: {left[start : place + 200]}\nours: {right[start : place + 200]}"
            )
    return f"perf has {len(perfs.splitlines())} lines, ours {len(ours.splitlines())}"
