"""Several users at one daemon that is not root either: who may what, and who sees what."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from commandline import (
    PTRACE_CLIENT,
    Ended,
    Run,
    open_folder,
    ptrace_client,
    wait_for_session,
)
from leftovers import children_of, wait_until
from processes import Daemon
from streams import GETPPID
from users import AS_NOBODY, DAEMON_UID, SMALLER_BUFFER, start_daemon

from ptrace_proto import ptrace_pb2 as pb
from unprivileged import NOBODY, as_user

# CAP_BPF, CAP_PERFMON, CAP_DAC_READ_SEARCH: include/uapi/linux/capability.h.
CAPABILITIES = f"{1 << 39 | 1 << 38 | 1 << 2:016x}"
NONE = f"{0:016x}"
# Without CAP_BPF: since kernel 5.19 what has been made can be used without.
READING = f"{1 << 38 | 1 << 2:016x}"
SCRIPT = "def __sample__(event):\n    pass\n"


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """A folder that all users can enter, with a script."""
    with open_folder() as folder:
        (folder / "script.py").write_text(SCRIPT)
        yield folder


@pytest.fixture(scope="module")
def daemon(folder: Path) -> Iterator[Daemon]:
    """A daemon that runs as a user of its own, with just the capabilities that it needs."""
    running = start_daemon(folder)
    yield running
    assert running.stop() == 0


def status_of(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return dict(line.split(":\t", 1) for line in lines)


def test_the_daemon_and_its_processes_have_three_capabilities_and_no_root(daemon: Daemon) -> None:
    wait_until(lambda: len(children_of(daemon.pid)) == 2, "front and compile worker run")
    processes = [daemon.pid, *children_of(daemon.pid)]
    commands = [Path(f"/proc/{pid}/cmdline").read_text().split("\0") for pid in processes]
    named = {word for command in commands for word in command if word.startswith("ptraced.")}
    assert named == {"ptraced.cli", "ptraced.front_process", "ptraced.compile_worker"}
    for pid, command in zip(processes, commands, strict=True):
        status = status_of(pid)
        assert set(status["Uid"].split()) == {str(DAEMON_UID)}
        assert set(status["Gid"].split()) == {str(DAEMON_UID)}
        held = {status[name] for name in ("CapPrm", "CapEff", "CapAmb")}
        assert held == {CAPABILITIES if "ptraced.cli" in command else NONE}
        assert status["CapBnd"] == CAPABILITIES


def test_the_process_for_symbols_keeps_what_it_needs_to_read(daemon: Daemon) -> None:
    request = pb.TraceRequest(selectors=["profile/-F 99 --user-callchain/"])
    with daemon.connect() as host, host.open(request) as stream:
        while not stream.next(timeout=None).stacks:
            pass
        (pid,) = (
            pid
            for pid in children_of(daemon.pid)
            if "ptraced.symbols.worker" in Path(f"/proc/{pid}/cmdline").read_text().split("\0")
        )
        status = status_of(pid)
    assert {status[name] for name in ("CapPrm", "CapEff")} == {READING}
    assert (int(status["CapAmb"], 16), status["NoNewPrivs"]) == (0, "1")


def test_buffers_are_smaller_where_no_more_memory_may_be_locked(folder: Path) -> None:
    place = folder / "locked"
    place.mkdir(mode=0o755)
    daemon = start_daemon(place, "prlimit", f"--memlock={1 << 20}:{1 << 20}")
    try:
        with daemon.connect() as host, host.open(pb.TraceRequest(selectors=[GETPPID])) as stream:
            message = stream.next(timeout=None)
            assert message is not None
            (warning,) = message.warnings
    finally:
        daemon.stop()
    match = SMALLER_BUFFER.fullmatch(f"warning: {warning.text}\n")
    assert match is not None
    got, wanted = map(int, match.groups())
    assert 0 < got < wanted


@pytest.mark.parametrize(
    ("prefix", "you"),
    [((), "root (uid 0, gid 0)"), (AS_NOBODY, f"nobody (uid {NOBODY}, gid {NOBODY})")],
    ids=["root", "nobody"],
)
def test_status_tells_who_the_kernel_says_is_calling(
    daemon: Daemon, prefix: tuple[str, ...], you: str
) -> None:
    ended = ptrace_client("status", "--socket", daemon.socket, prefix=prefix)
    assert (ended.status, ended.err) == (0, "")
    assert f"you       {you}\n" in ended.out


def listed(daemon: Daemon, prefix: tuple[str, ...] = ()) -> dict[str, str]:
    """What `sessions` shows: user by session id."""
    ended = ptrace_client("sessions", "--socket", daemon.socket, prefix=prefix)
    assert (ended.status, ended.err) == (0, "")
    head, *rows = ended.out.splitlines()
    assert head.split()[:3] == ["ID", "USER", "PID"]
    return {row.split()[0]: row.split()[1] for row in rows}


def test_users_see_and_stop_their_own_sessions_and_root_all(daemon: Daemon, folder: Path) -> None:
    command = [PTRACE_CLIENT, "run", "--socket", daemon.socket, "-e", GETPPID, "script.py"]
    request = pb.TraceRequest(selectors=[GETPPID], label="root's")
    with (
        daemon.connect() as host,
        host.open(request) as roots,
        Run(as_user(command), folder) as run,
    ):
        theirs = wait_for_session(host, "script.py", run)
        mine = roots.started.session_id
        assert listed(daemon) == {mine: "root", theirs: "nobody"}
        assert listed(daemon, AS_NOBODY) == {theirs: "nobody"}

        # Whether such a session exists is not told either.
        stop = ("sessions", "--socket", daemon.socket, "stop")
        for foreign in (mine, "0123456789abcdef"):
            ended = ptrace_client(*stop, foreign, prefix=AS_NOBODY)
            assert ended == Ended(2, "", f"error: no session {foreign}\n")
        assert mine in listed(daemon)

        assert ptrace_client(*stop, theirs) == Ended(0, "", "")
        ended = run.end()
        assert SMALLER_BUFFER.sub("", ended.err) == ""
        assert (ended.status, ended.out) == (0, f"Loaded module: {folder}/script.py\n")
        assert listed(daemon) == {mine: "root"}


def test_a_user_stops_a_session_of_its_own(daemon: Daemon, folder: Path) -> None:
    command = [PTRACE_CLIENT, "run", "--socket", daemon.socket, "-e", GETPPID, "script.py"]
    with daemon.connect() as host, Run(as_user(command), folder) as run:
        theirs = wait_for_session(host, "script.py", run)
        stop = ("sessions", "--socket", daemon.socket, "stop", theirs)
        assert ptrace_client(*stop, prefix=AS_NOBODY) == Ended(0, "", "")
        assert run.end().status == 0


# A /run without a daemon, whatever this machine runs.
EMPTY_RUN = ("unshare", "--mount", "sh", "-euc", 'mount -t tmpfs none /run; exec "$@"', "sh")
# Traces calls of its own, so that nothing has to wait for it.
SELF_TRACING = """
import os, signal
seen = 0
def syscalls__sys_enter_getppid(event):
    global seen
    if event._pid != os.getpid():
        return
    seen += 1
    if seen == 3:
        os.kill(os.getpid(), signal.SIGTERM)
def __interval__():
    os.getppid()
def __exit__():
    print("saw my own calls")
"""


def test_root_without_a_daemon_gets_one_for_the_run_and_it_leaves_nothing(tmp_path: Path) -> None:
    script = tmp_path / "own.py"
    script.write_text(SELF_TRACING)
    (tmp_path / "tmp").mkdir()
    command = [*EMPTY_RUN, PTRACE_CLIENT, "run", "-q", "-e", GETPPID, "-i", "5", script]
    with Run(command, tmp_path, TMPDIR=str(tmp_path / "tmp")) as run:
        ended = run.end()
    assert ended == Ended(0, "saw my own calls\n", "")
    assert not list((tmp_path / "tmp").iterdir())
    assert not processes_with(f"TMPDIR={tmp_path}/tmp")


def processes_with(variable: str) -> list[str]:
    """Command lines of the processes that have this in their environment."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if variable in (process / "environ").read_text(errors="replace").split("\0"):
                found.append((process / "cmdline").read_text())
        except OSError:
            # It is gone, or not one of ours.
            continue
    return found


def test_nobody_without_a_daemon_is_told_how_to_start_one(folder: Path) -> None:
    ended = ptrace_client(
        "run", "-e", GETPPID, "script.py", folder=folder, prefix=(*EMPTY_RUN, *AS_NOBODY)
    )
    assert ended == Ended(
        2,
        "",
        "error: no daemon: there is no socket /run/ptraced/ptraced.sock; start the daemon with "
        "`systemctl start ptraced`, or run as root: `ptrace-client run` then starts one for "
        "itself\n",
    )
