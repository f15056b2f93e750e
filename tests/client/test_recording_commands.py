"""`run -i`, `trace -i` and `template -i` as users call them, with scripts of PerfEvents."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from perf_files import two_events, wakeup_raw, written

from ptrace_client.cli import execute
from ptrace_client.perf_data.model import RecordKind

PTRACE_CLIENT = Path(sys.executable).with_name("ptrace-client")
SCRIPT = """\
import sys
def __init__():
    print(sys.argv[1:])
def sched__sched_wakeup(event):
    print(event._time, event.value)
def cpu_clock_u(event):
    print(event._time, hex(event.ip))
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Has perf.data, with a wakeup and a sample, perf.pipe, the same in a pipe, and script.py."""
    made = two_events()
    made.sample(21, 20)
    made.sample(11, 10, tail=wakeup_raw(made, 99))
    written(tmp_path, made.file())
    written(tmp_path, made.pipe(), "perf.pipe")
    (tmp_path / "script.py").write_text(SCRIPT)
    return tmp_path


def client(folder: Path, command: str, stdin: str = "/dev/null") -> tuple[int, str, str]:
    """Status, stdout and stderr of a command line; nobody offers a daemon."""
    with open(folder / stdin) as file:
        done = subprocess.run(
            [PTRACE_CLIENT, *command.split()],
            cwd=folder,
            stdin=file,
            env={"PTRACED_SOCKET": "/nowhere"},
            capture_output=True,
            text=True,
        )
    return done.returncode, done.stdout, done.stderr


LOADED = "Loaded module: {folder}/script.py\n"


@pytest.mark.parametrize(
    ("command", "out"),
    [
        ("run -i perf.data script.py a b", "['a', 'b']\n10 99\n20 0x1000\n"),
        ("run --input perf.data -e sched script.py", "[]\n10 99\n"),
        ("run -i perf.data -q -N 1 script.py", "[]\n10 99\n"),
    ],
)
def test_a_script_runs_on_a_recording(folder: Path, command: str, out: str) -> None:
    status, printed, err = client(folder, command)
    loaded = "" if "-q" in command else LOADED.format(folder=folder)
    assert (status, printed, err) == (0, loaded + out, "")


def test_a_script_runs_on_a_pipe(folder: Path) -> None:
    status, out, err = client(folder, "run -q -i - script.py", "perf.pipe")
    assert (status, out, err) == (0, "[]\n10 99\n20 0x1000\n", "")


def test_events_of_a_pipe_come_at_once_until_a_signal(folder: Path) -> None:
    # GIVEN a pipe that stays open
    (folder / "script.py").write_text(
        "def __sample__(event):\n    print(event._time, flush=True)\n"
        "def __exit__():\n    print('bye')\n"
    )
    made = two_events()
    running = subprocess.Popen(
        [PTRACE_CLIENT, "run", "-q", "-i", "-", "script.py"],
        cwd=folder,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert running.stdin is not None
    assert running.stdout is not None
    # WHEN rounds of events come
    for time in (10, 20):
        made.sample(21, time)
        made.record(RecordKind.FINISHED_ROUND)
    running.stdin.write(made.pipe())
    running.stdin.flush()
    # THEN those whose turn it is are there, without what comes next
    assert running.stdout.readline() == b"10\n"
    # AND a signal ends the reading
    running.send_signal(signal.SIGINT)
    running.stdin.write(b"".join(made.records))
    out, _ = running.communicate(timeout=60)
    assert out.splitlines()[-1] == b"bye"
    assert running.returncode == 0


def test_a_recording_is_printed(folder: Path) -> None:
    status, out, err = client(folder, "trace -i perf.data")
    assert (status, err) == (0, "")
    wakeup, sample = out.splitlines()
    assert wakeup.endswith("0.000000: sched:sched_wakeup: value=99")
    assert "cpu-clock:u" in sample
    assert client(folder, "trace -i perf.data -e cpu-clock")[1].splitlines() == [sample]


def test_templates_of_a_recording_run_on_it(folder: Path) -> None:
    status, template, err = client(folder, "template -i perf.data")
    assert (status, err) == (0, "")
    assert client(folder, "run -i perf.data help") == (0, template, "")
    (folder / "started.py").write_text(template)
    _, out, _ = client(folder, "run -i perf.data started.py")
    assert out.endswith("2 events, 0 times some were lost\n")
    status, template, err = client(folder, "template -i perf.data --dialect perf-script")
    assert (status, err) == (0, "")
    assert client(folder, "run -i perf.data --dialect perf-script help") == (0, template, "")
    (folder / "started.py").write_text(template)
    status, out, _ = client(folder, "run -i perf.data started.py")
    assert status == 0
    assert "value=99" in out
    assert "\ncpu-clock:u: {" in out


@pytest.mark.parametrize("option", ["-C 0", "-p 1", "-t 1", "--cgroups web", "--duration 3"])
@pytest.mark.parametrize("command", ["run script.py", "trace"])
def test_what_says_where_to_trace_is_refused(
    folder: Path, option: str, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    name, *rest = command.split()
    assert execute([name, "-i", str(folder / "perf.data"), *option.split(), *rest]) == 2
    out, err = capsys.readouterr()
    assert (out, err.startswith(f"error: {option.split()[0]} is for live events")) == ("", True)


@pytest.mark.parametrize(
    ("command", "error"),
    [
        ("trace -i nowhere", "cannot open nowhere"),
        ("trace -i script.py", "script.py"),
        ("template -i perf.data -e sched:wakeup", "has no event sched:wakeup"),
        ("trace -i perf.data -e net:*", "has no event net:*"),
        ("run -i perf.data -e sched:x script.py", "has no event sched:x"),
        ("trace", "Missing option '-e'"),
    ],
)
def test_what_cannot_be_read_is_told_in_a_sentence(folder: Path, command: str, error: str) -> None:
    status, out, err = client(folder, command)
    assert status != 0
    assert out == ""
    assert err.startswith("error: ")
    assert error in err
    assert "Traceback" not in err
