"""Bad input at the command line: the whole message, status 2, and nothing left attached."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from bad_input import CASES, FILES, WITHOUT_KPROBES, WITHOUT_PMU, Case, wakeup
from commandline import (
    PTRACE_CLIENT,
    Ended,
    Run,
    open_folder,
    ptrace_client,
    run_script,
    wait_for_session,
)
from leftovers import programs_of, wait_until
from processes import Calls, Daemon
from streams import GETPPID

from fakeserver import FakeDaemon
from unprivileged import as_user

START_HINT = (
    "start the daemon with `systemctl start ptraced`, or run as root: `ptrace-client run` then "
    "starts one for itself"
)
SCRIPTS = {
    "good.py": "def __sample__(event):\n    pass\n",
    "syntax.py": "def __sample__(event):\n    retrun 1\n",
    "raises.py": "import no_such_module\n\n\ndef sched__sched_wakeup(event):\n    pass\n",
    "empty.py": "def helper():\n    pass\n",
    "getppid.py": "def syscalls__sys_enter_getppid(event):\n    print('seen')\n",
}


_DEVICES = Path("/sys/bus/event_source/devices")


def has_kprobes() -> bool:
    return (_DEVICES / "kprobe").exists()


def has_pmu() -> bool:
    return (_DEVICES / "cpu").exists()


@pytest.fixture
def scripts(tmp_path: Path) -> Path:
    """A folder with the scripts that the cases name."""
    for name, text in SCRIPTS.items():
        (tmp_path / name).write_text(text)
    return tmp_path


@pytest.fixture
def clean(daemon: Daemon) -> Iterator[Daemon]:
    """The daemon, without a program before the test and after it."""
    wait_until(lambda: not programs_of(daemon), "earlier programs are gone")
    yield daemon
    with daemon.connect() as host:
        assert not host.sessions()
    wait_until(lambda: not programs_of(daemon), "nothing stays attached")


def run(daemon: Daemon, folder: Path, *words: str) -> Ended:
    return ptrace_client("run", "--socket", daemon.socket, *words, folder=folder)


@pytest.fixture(scope="module")
def files() -> Iterator[Path]:
    """A folder with what can be taken for a program."""
    with open_folder() as folder:
        assert len(str(folder)) == len(FILES)
        os.mkfifo(folder / "fifo")
        (folder / "device").symlink_to("/dev/null")
        (folder / "text").write_text("no program\n")
        source = folder / "program.c"
        source.write_text("int main(void) { return 0; }\n")
        subprocess.run(["gcc", "-o", folder / "program", source], check=True)
        subprocess.run(["gcc", "-s", "-o", folder / "stripped", source], check=True)
        yield folder


def check_refusal(case: Case, daemon: Daemon, scripts: Path, files: Path) -> None:
    with daemon.connect() as host:
        online = ",".join(map(str, host.info.online_cpus))
    rate = Path("/proc/sys/kernel/perf_event_max_sample_rate").read_text().strip()
    words = [word.replace(FILES, str(files)) for word in case.words]
    ended = run(daemon, scripts, *words)
    message = case.message.replace(FILES, str(files)).replace("{folder}", str(scripts))
    assert ended.err == message.replace("{online}", online).replace("{rate}", rate)
    assert ended.status == 2


def name(case: Case) -> str:
    return case.name.replace(" ", "-")


@pytest.mark.parametrize("case", CASES, ids=name)
def test_is_refused(case: Case, clean: Daemon, scripts: Path, files: Path) -> None:
    check_refusal(case, clean, scripts, files)


@pytest.mark.skipif(has_pmu(), reason="this host has hardware counters")
@pytest.mark.parametrize("case", WITHOUT_PMU, ids=name)
def test_is_refused_without_a_pmu(case: Case, clean: Daemon, scripts: Path, files: Path) -> None:
    check_refusal(case, clean, scripts, files)


@pytest.mark.skipif(has_kprobes(), reason="this kernel has kprobes")
@pytest.mark.parametrize("case", WITHOUT_KPROBES, ids=name)
def test_is_refused_without_kprobes(case: Case, clean: Daemon, scripts: Path, files: Path) -> None:
    check_refusal(case, clean, scripts, files)


def test_what_a_script_raises_at_its_import_ends_with_1(clean: Daemon, scripts: Path) -> None:
    ended = run(clean, scripts, *wakeup("raises.py"))
    assert ended.err == (
        "error: cannot load raises.py:\n"
        "Traceback (most recent call last):\n"
        f'  File "{scripts}/raises.py", line 1, in <module>\n'
        "    import no_such_module\n"
        "ModuleNotFoundError: No module named 'no_such_module'\n"
    )
    assert ended.status == 1


def test_a_handler_of_an_event_that_was_not_selected_is_told_and_the_run_goes_on(
    clean: Daemon, scripts: Path, calls: Callable[..., Calls]
) -> None:
    script = scripts / "two.py"
    script.write_text(
        SCRIPTS["getppid.py"] + "def sched__sched_switch(event):\n    print('never')\n"
    )
    program = calls(2)
    options = ("-e", GETPPID, "-p", str(program.pid), "-q")
    with run_script(clean, script, *options) as running, clean.connect() as host:
        wait_for_session(host, "two.py", running)
        # What is attached is seen: the absence of programs after the cases says something.
        assert programs_of(clean)
        program.make()
        program.end()
        ended = running.end()
    assert ended == Ended(
        0,
        "seen\nseen\n",
        "warning: handler sched__sched_switch is not called: its event is not selected "
        f"(-e {GETPPID})\n",
    )


def test_no_daemon(scripts: Path) -> None:
    words = ("run", "--socket", "none.sock", *wakeup("good.py"))
    assert ptrace_client(*words, folder=scripts) == Ended(
        2, "", f"error: no daemon: there is no socket none.sock; {START_HINT}\n"
    )


def test_a_daemon_that_was_killed_left_its_socket(
    own_daemon: Callable[..., Daemon], scripts: Path
) -> None:
    daemon = own_daemon()
    daemon.stop(signal.SIGKILL)
    assert daemon.socket.exists()
    assert run(daemon, scripts, *wakeup("good.py")) == Ended(
        2, "", f"error: no daemon: nothing listens at {daemon.socket}; {START_HINT}\n"
    )


def test_a_daemon_that_is_gone_in_mid_stream(
    own_daemon: Callable[..., Daemon], scripts: Path, calls: Callable[..., Calls]
) -> None:
    daemon = own_daemon()
    program = calls(1)
    options = ("-e", GETPPID, "-p", str(program.pid))
    with run_script(daemon, scripts / "getppid.py", *options) as running:
        with daemon.connect() as host:
            wait_for_session(host, "getppid.py", running)
        program.make()
        assert running.line() == f"Loaded module: {scripts}/getppid.py"
        assert running.line() == "seen"
        daemon.stop(signal.SIGKILL)
        ended = running.end()
    assert ended == Ended(
        4,
        "",
        f"error: the daemon at unix:{daemon.socket} went away in the middle of the trace: events "
        "after this moment are missing; see `systemctl status ptraced`, then run again\n",
    )


def test_a_server_of_another_contract(scripts: Path) -> None:
    # GIVEN a gRPC server that knows nothing of ptrace.v1
    with FakeDaemon(scripts / "other.sock", leave_out=("GetServerInfo",)):
        ended = ptrace_client("run", "--socket", "other.sock", *wakeup("good.py"), folder=scripts)
    assert ended == Ended(
        2,
        "",
        "error: wrong version: the daemon at unix:other.sock does not know this call of the "
        "contract ptrace.v1 (Method not found!); install the ptraced that belongs to "
        "ptrace-client 0.1.0\n",
    )


def test_a_socket_that_the_user_may_not_use() -> None:
    with open_folder() as folder:
        (folder / "good.py").write_text(SCRIPTS["good.py"])
        daemon = Daemon(folder)
        daemon.socket.chmod(0o600)
        try:
            command = [PTRACE_CLIENT, "run", "--socket", daemon.socket, *wakeup("good.py")]
            with Run(as_user(command), folder) as running:
                ended = running.end()
            assert not programs_of(daemon)
        finally:
            daemon.stop()
    assert ended == Ended(
        2,
        "",
        f"error: permission denied at the socket {daemon.socket}: it belongs to root:root with "
        "mode 0600; ask the administrator for access, or run as root\n",
    )
