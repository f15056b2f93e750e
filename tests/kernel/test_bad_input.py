"""Bad input at the command line: the whole message, status 2, and nothing left attached."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from bad_input import CASES, Case, wakeup
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
    "raises.py": "import no_such_module\n",
    "empty.py": "def helper():\n    pass\n",
    "getppid.py": "def syscalls__sys_enter_getppid(event):\n    print('seen')\n",
}


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


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name.replace(" ", "-"))
def test_is_refused(case: Case, clean: Daemon, scripts: Path) -> None:
    with clean.connect() as host:
        online = ",".join(map(str, host.info.online_cpus))
    ended = run(clean, scripts, *case.words)
    assert ended.err == case.message.replace("{folder}", str(scripts)).replace("{online}", online)
    assert ended.status == 2


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
        2,
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
