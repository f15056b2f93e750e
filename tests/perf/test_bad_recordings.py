"""What `ptrace-client run` says of recordings and scripts that are not right, to the letter."""

from __future__ import annotations

import re
import struct
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest
from recordings import Recorder, clean_environment
from sidebyside import CLIENT

from unprivileged import as_user

pytestmark = pytest.mark.needs_kernel("tracefs", "perf events")

SCRIPT: Final = """
def trace_begin():
    print("begin")

def raw_syscalls__sys_enter(event_name, context, common_cpu, common_secs, common_nsecs,
        common_pid, common_comm, common_callchain, id, args):
    print("call")

def trace_end():
    print("end")
"""
# Places in the header of a perf.data file.
_DATA_SECTION: Final = 40
_FEATURES: Final = 72
_TRACING_DATA: Final = 1


def _cut(size: int) -> Callable[[bytes], bytes]:
    return lambda content: content[:size]


def _inside(content: bytes) -> bytes:
    """Cut off in the middle of a record, behind the features of a pipe's start."""
    return content[: len(content) * 2 // 3]


def _in_data(content: bytes) -> bytes:
    """Cut off in the middle of the records, without what is behind."""
    offset, size = struct.unpack_from("<2Q", content, _DATA_SECTION)
    return content[: offset + size // 2]


def _without_tracing_data(content: bytes) -> bytes:
    """Take a feature out: its bit, and the first entry of the table behind the data."""
    damaged = bytearray(content)
    (bits,) = struct.unpack_from("<Q", content, _FEATURES)
    assert bits & 1 << _TRACING_DATA
    struct.pack_into("<Q", damaged, _FEATURES, bits & ~(1 << _TRACING_DATA))
    table = sum(struct.unpack_from("<2Q", content, _DATA_SECTION))
    count = bits.bit_count()
    damaged[table : table + 16 * (count - 1)] = content[table + 16 : table + 16 * count]
    return bytes(damaged)


def _far_away(content: bytes) -> bytes:
    """Say that the first feature has a TiB."""
    damaged = bytearray(content)
    table = sum(struct.unpack_from("<2Q", content, _DATA_SECTION))
    struct.pack_into("<Q", damaged, table + 8, 1 << 40)
    return bytes(damaged)


def _spoilt_compression(content: bytes) -> bytes:
    damaged = bytearray(content)
    place = content.index(b"\x28\xb5\x2f\xfd")
    damaged[place : place + 4] = b"none"
    return bytes(damaged)


@dataclass(frozen=True)
class Case:
    """A recording made from a good one, and what is said: a regular expression for stderr.

    In it {path} is the recording's; `stdout` is what the script prints, but for its "call"s.
    """

    recording: str
    change: Callable[[bytes], bytes]
    error: str
    stdout: tuple[str, ...] = ()


NO_FORMAT: Final = (
    r"error: {path}: it has no format of the tracepoint \d+, which tells what its samples hold"
)
CASES: Final = {
    "empty": Case("syscalls", _cut(0), "error: {path}: the file is empty"),
    "header cut": Case("syscalls", _cut(60), "error: {path}: header, byte 60: the file ends here"),
    "records cut": Case(
        "syscalls",
        _in_data,
        NO_FORMAT
        + r" \(the file is cut off: it ends at byte \d+, and what the host and the events are "
        r"should start at byte \d+\); record again",
    ),
    "no tracing data": Case("syscalls", _without_tracing_data, NO_FORMAT + "; record again"),
    "huge feature": Case(
        "syscalls",
        _far_away,
        r"error: {path}: feature 1, byte \d+: 1099511627776 bytes are not all in the file",
    ),
    "another tool's": Case(
        "syscalls",
        lambda content: Path("/bin/true").read_bytes(),
        "error: {path}: this is no perf.data file: it does not start with PERFILE2",
    ),
    "spoilt compression": Case(
        "compressed",
        _spoilt_compression,
        r"error: {path}: records, byte \d+: this is not zstd's format: .+",
        ("begin", "end"),
    ),
    "pipe cut": Case(
        "piped",
        _inside,
        r"error: {path}: records, byte \d+: the file ends in the middle of one",
        ("begin", "end"),
    ),
}


def _run(
    *arguments: str | Path, stdin: bytes = b"", user: bool = False
) -> subprocess.CompletedProcess[str]:
    command = [CLIENT, "run", *map(str, arguments)]
    done = subprocess.run(
        as_user(command) if user else command,
        input=stdin,
        capture_output=True,
        env=clean_environment(),
        timeout=60,
    )
    return subprocess.CompletedProcess(
        command, done.returncode, done.stdout.decode(), done.stderr.decode()
    )


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "script.py"
    path.write_text(SCRIPT)
    return path


@pytest.mark.parametrize("name", CASES)
def test_damage_is_told_in_one_sentence_after_what_precedes_it(
    recording: Recorder, script: Path, tmp_path: Path, name: str
) -> None:
    case = CASES[name]
    path = tmp_path / "damaged.data"
    path.write_bytes(case.change(recording(case.recording).read_bytes()))

    done = _run("--input", path, script)

    expected = case.error.format(path=re.escape(str(path)))
    assert re.fullmatch(expected + "\n", done.stderr), done.stderr
    assert done.returncode == 2
    assert tuple(line for line in done.stdout.splitlines() if line != "call") == case.stdout


def test_a_pipe_that_ends_early_hands_over_what_came(recording: Recorder, script: Path) -> None:
    content = recording("piped").read_bytes()

    done = _run("--input", "-", script, stdin=_inside(content))

    assert re.fullmatch(
        r"error: standard input: records, byte \d+: the pipe ends in the middle of one\n",
        done.stderr,
    )
    assert done.returncode == 2
    lines = done.stdout.splitlines()
    assert (lines[0], lines[-1]) == ("begin", "end")
    assert lines.count("call") > 50


def test_a_pipe_of_something_else_is_not_read_on(script: Path) -> None:
    with open("/dev/zero", "rb") as endless:
        done = subprocess.run(
            [CLIENT, "run", "--input", "-", script],
            stdin=endless,
            capture_output=True,
            text=True,
            timeout=60,
        )

    assert done.stderr == (
        "error: standard input: this is no perf.data file: it does not start with PERFILE2\n"
    )
    assert done.returncode == 2


def test_a_file_that_is_not_there_or_not_for_the_user_is_named(
    recording: Recorder, script: Path, tmp_path: Path
) -> None:
    missing = tmp_path / "missing.data"
    secret = recording("syscalls")
    secret.chmod(0o600)

    absent = _run("--input", missing, script)
    refused = _run("--input", secret, script, user=True)
    folder = _run("--input", tmp_path, script)

    assert absent.stderr == f"error: cannot open {missing}: No such file or directory\n"
    assert refused.stderr == f"error: cannot open {secret}: Permission denied\n"
    assert folder.stderr == (
        f"error: {tmp_path}: this is a directory, as perf record --threads writes it; name the "
        "file in it that holds what you want, or record without --threads\n"
    )
    assert absent.returncode == refused.returncode == folder.returncode == 2
    assert absent.stdout == refused.stdout == folder.stdout == ""


def test_an_event_that_the_recording_lacks_is_refused(recording: Recorder, script: Path) -> None:
    path = recording("stacks")

    done = _run("--input", path, "-e", "cpu-clocks", script)
    other = _run("--input", recording("futexes"), "-e", "kmem:kmalloc", script)

    assert done.stderr == f"error: {path} has no event cpu-clocks: did you mean cpu-clock?\n"
    assert other.stderr == (
        f"error: {recording('futexes')} has no event kmem:kmalloc: it has "
        "syscalls:sys_exit_futex, syscalls:sys_enter_futex\n"
    )
    assert done.returncode == other.returncode == 2


def test_a_script_for_other_events_runs_with_a_warning(recording: Recorder, script: Path) -> None:
    path = recording("futexes")

    done = _run("--input", path, script)

    assert done.stderr == (
        f"warning: {script} gets no events: {path} has syscalls:sys_exit_futex, "
        "syscalls:sys_enter_futex, its handlers are raw_syscalls__sys_enter\n"
    )
    assert (done.stdout, done.returncode) == ("begin\nend\n", 0)


def test_an_unknown_script_is_told_with_one_that_may_be_meant(recording: Recorder) -> None:
    done = _run("--input", recording("syscalls"), "sycall-counts")

    assert done.stderr == (
        "error: no script sycall-counts (did you mean syscall-counts?): there is no such file, "
        "and `ptrace-client scripts` lists those that have a name\n"
    )
    assert (done.stdout, done.returncode) == ("", 2)
