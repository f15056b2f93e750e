"""perf-prof's ways to run a script: template, shebang, signals, output to a file."""

from __future__ import annotations

import re
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from commandline import PTRACE_CLIENT, Ended, Run, ptrace_client, run_script, wait_for_session
from leftovers import wait_until
from processes import Calls, Daemon
from streams import GETPPID


def run_on_calls(daemon: Daemon, script: Path, events: str, program: Calls) -> Ended:
    """Run a script while a program makes its calls and ends."""
    options = ("-e", events, "-p", str(program.pid))
    with run_script(daemon, script, *options) as running, daemon.connect() as host:
        wait_for_session(host, script.name, running)
        program.make()
        program.end()
        return running.end()


def test_a_template_runs_unchanged(
    daemon: Daemon, tmp_path: Path, calls: Callable[..., Calls]
) -> None:
    # GIVEN the template of two events in a file
    events = f"{GETPPID},sched:sched_switch"
    template = ptrace_client("run", "--socket", daemon.socket, "-e", events, "help")
    assert (template.status, template.err) == (0, "")
    assert ptrace_client("template", "--socket", daemon.socket, "-e", events) == template
    script = tmp_path / "from_template.py"
    script.write_text(template.out)
    # WHEN it runs on events
    ended = run_on_calls(daemon, script, events, calls(50))
    # THEN it prints each of them
    assert (ended.status, ended.err) == (0, "")
    loaded, hello, *lines, bye = ended.out.splitlines()
    assert (loaded, hello) == (f"Loaded module: {script}", "tracing, Ctrl-C ends")
    assert sum(f": {GETPPID}: " in line for line in lines) == 50
    assert all(f": {GETPPID}: " in line or ": sched:sched_switch: " in line for line in lines)
    assert bye == f"{len(lines)} events, 0 times some were lost"


def test_a_template_of_perfs_dialect_runs_live_and_is_that_of_a_recording(
    daemon: Daemon, tmp_path: Path, calls: Callable[..., Calls]
) -> None:
    # GIVEN the template of two events, from the daemon and from a recording of them
    events = f"{GETPPID},sched:sched_switch"
    recording = tmp_path / "perf.data"
    record = ["perf", "record", "-q", "-o", str(recording), "-e", events, "--", "true"]
    subprocess.run(record, check=True, capture_output=True)
    dialect = ("template", "--dialect", "perf-script")
    template = ptrace_client(*dialect, "--socket", daemon.socket, "-e", events)
    assert (template.status, template.err) == (0, "")
    assert ptrace_client(*dialect, "-i", recording) == template
    script = tmp_path / "from_template.py"
    script.write_text(template.out)
    # WHEN it runs on events
    ended = run_on_calls(daemon, script, events, calls(50))
    # THEN it prints each of them
    assert (ended.status, ended.err) == (0, "")
    assert ended.out.count("syscalls__sys_enter_getppid") == 50
    assert "in trace_begin\n" in ended.out
    assert ended.out.endswith("in trace_end\n")


SHEBANG = """\
#!/usr/bin/env -S ptrace-client run -q -e {event}{end}
import sys
def __init__():
    print(sys.argv)
def __sample__(event):
    print("event")
    if "-N" in sys.argv:
        sys.exit(5)
"""


@pytest.mark.parametrize(
    ("end", "argv", "out", "status"),
    [
        # The runner takes the options that it knows, wherever they stand.
        ("", ["--threshold", "50", "pos"], "event\nevent\n", 0),
        # Behind the "--" everything is the script's.
        (" --", ["-N", "2", "--threshold", "50", "pos"], "event\n", 5),
    ],
    ids=["open", "closed"],
)
def test_a_script_runs_by_its_first_line(
    daemon: Daemon,
    tmp_path: Path,
    calls: Callable[..., Calls],
    end: str,
    argv: list[str],
    out: str,
    status: int,
) -> None:
    program = calls(1000)
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "ptrace-client").symlink_to(PTRACE_CLIENT)
    script = tmp_path / "tool.py"
    event = f"{GETPPID}/_pid=={program.pid}/"
    script.write_text(SHEBANG.format(event=event, end=end))
    script.chmod(0o755)
    command = ["./tool.py", "-N", "2", "--threshold", "50", "pos"]
    places = {"PATH": f"{folder}:/usr/bin:/bin", "PTRACED_SOCKET": str(daemon.socket)}
    with Run(command, tmp_path, **places) as running, daemon.connect() as host:
        wait_for_session(host, "tool.py", running)
        program.make()
        ended = running.end()
    assert ended == Ended(status, f"{['./tool.py', *argv]}\n{out}", "")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_a_signal_stops_the_run_and_exit_is_called(
    daemon: Daemon, tmp_path: Path, calls: Callable[..., Calls], number: signal.Signals
) -> None:
    script = tmp_path / "stopped.py"
    script.write_text(
        "def __sample__(event):\n    print('event')\ndef __exit__():\n    print('exit')\n"
    )
    program = calls(1)
    options = ("-q", "-e", GETPPID, "-p", str(program.pid))
    with run_script(daemon, script, *options) as running, daemon.connect() as host:
        wait_for_session(host, script.name, running)
        program.make()
        assert running.line() == "event"
        running.signal(number)
        assert running.end() == Ended(0, "exit\n", "")
        wait_until(lambda: not host.sessions(), "the session is closed")


def test_sigusr2_prints_the_state_and_the_run_goes_on(
    daemon: Daemon, tmp_path: Path, calls: Callable[..., Calls]
) -> None:
    script = tmp_path / "state.py"
    script.write_text(
        "calls = 0\n"
        "def __sample__(event):\n"
        "    global calls\n"
        "    calls += 1\n"
        "    if calls % 3 == 0:\n"
        "        print('three')\n"
        "def __print_stat__(indent):\n"
        "    print(' ' * indent + f'{calls} calls')\n"
    )
    first, second = calls(3), calls(3)
    options = ("-q", "-e", GETPPID, "-p", f"{first.pid},{second.pid}")
    with run_script(daemon, script, *options) as running, daemon.connect() as host:
        session = wait_for_session(host, script.name, running)
        first.make()
        assert running.line() == "three"
        running.signal(signal.SIGUSR2)
        assert running.line() == "    3 calls"
        second.make()
        first.end()
        second.end()
        ended = running.end()
    assert ended == Ended(
        0,
        "three\n",
        f"ptrace-client: session {session}\n"
        "  delivered 3; lost 0; 0 exceptions in handlers\n"
        f"  script {script}:\n",
    )


def test_output_goes_to_a_file_that_sigusr1_opens_anew(
    daemon: Daemon, tmp_path: Path, calls: Callable[..., Calls]
) -> None:
    script = tmp_path / "logging.py"
    script.write_text("def __sample__(event):\n    print(event._pid)\n    undefined\n")
    log, old = tmp_path / "log", tmp_path / "log.1"
    log.write_text("was here\n")
    first, second = calls(1), calls(2)
    options = ("-o", log, "-e", GETPPID, "-p", f"{first.pid},{second.pid}")
    with run_script(daemon, script, *options) as running, daemon.connect() as host:
        wait_for_session(host, script.name, running)
        first.make()
        wait_until(lambda: "NameError" in log.read_text(), "the first event is written")
        # WHEN the log is rotated
        log.rename(old)
        running.signal(signal.SIGUSR1)
        wait_until(log.exists, "the file is opened anew")
        second.make()
        first.end()
        second.end()
        ended = running.end()
    # THEN each file has its part, of stderr too, appended to what was there
    assert ended == Ended(1, "", "")
    traceback = (
        "Traceback (most recent call last):\n"
        f'  File "{script}", line 3, in __sample__\n'
        "    undefined\n"
        "NameError: name 'undefined' is not defined\n"
    )
    assert old.read_text() == f"was here\nLoaded module: {script}\n{first.pid}\n{traceback}"
    assert re.sub(r"^further .*\n", "", log.read_text(), flags=re.M) == (
        f"{second.pid}\n{traceback}" * 2 + "3 exceptions in handlers\n"
    )
