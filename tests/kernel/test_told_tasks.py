"""Records of tasks: who is told of whose, over a real daemon."""

from __future__ import annotations

import resource
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from commandline import open_folder
from processes import Daemon
from strangers import ANN, BEN, CAT, connected_as

from ptrace_client.host import Host
from ptrace_proto import ptrace_pb2 as pb

pytestmark = pytest.mark.needs_kernel("BTF", "capabilities", "perf events")
RULES = f"""
[[rule]]
name = "own"
users = ["#{ANN}"]
events = ["*"]
tasks = "own"
[[rule]]
name = "all"
users = ["#{CAT}"]
events = ["*"]
tasks = "all"
[[rule]]
name = "root"
users = ["root"]
events = ["*"]
tasks = "all"
stacks = "all"
"""
SYSCALLS = "raw_syscalls:sys_enter"


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with open_folder() as folder:
        yield folder


@pytest.fixture(scope="module")
def daemon(folder: Path) -> Iterator[Daemon]:
    own = folder / "daemon"
    own.mkdir(mode=0o755)
    running = Daemon(own, config=RULES)
    yield running
    assert running.stop() == 0


def program(folder: Path, name: str) -> Path:
    """A program of this name that reads its standard input to the end."""
    return Path(shutil.copy(shutil.which("cat") or "cat", folder / name))


def as_uid(uid: int, *command: str | Path) -> list[str]:
    who = f"--reuid={uid}", f"--regid={uid}"
    return ["setpriv", *who, "--clear-groups", *map(str, command)]


@contextmanager
def running(*command: str | Path) -> Iterator[int]:
    """A program that waits for its input, and has read all that was there before."""
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"\n")
        process.stdin.flush()
        process.stdout.read(1)
        yield process.pid


def told(
    host: Host, work: Callable[[], object], selectors: Sequence[str] = (SYSCALLS,)
) -> tuple[list[pb.TaskRecord], pb.End]:
    """All records of tasks of a session during which work is done."""
    found: list[pb.TaskRecord] = []
    with host.open(pb.TraceRequest(selectors=selectors, task_records=True)) as stream:
        work()
        stream.stop()
        while True:
            message = stream.next(None)
            if message is not None:
                found += message.tasks
                if message.HasField("end"):
                    return found, message.end


def names(records: Sequence[pb.TaskRecord]) -> set[bytes]:
    return {record.name.name for record in records if record.HasField("name")}


def paths(records: Sequence[pb.TaskRecord]) -> set[str]:
    return {record.mapping.path.decode() for record in records if record.HasField("mapping")}


def test_of_a_users_own_tasks_names_and_mappings_are_told(daemon: Daemon, folder: Path) -> None:
    mine = program(folder, "annlong")
    with connected_as(ANN, daemon) as host, running(*as_uid(ANN, mine)) as before:

        def work() -> None:
            with running(*as_uid(ANN, program(folder, "annlater"))):
                pass

        records, end = told(host, work)

    assert end.reason == pb.END_REASON_STOPPED
    assert {b"annlong", b"annlater"} <= names(records)
    assert {str(mine), str(folder / "annlater")} <= paths(records)
    first = [record.WhichOneof("what") for record in records if record.pid == before]
    assert first[:3] == ["start", "name", "mapping"]


def test_of_a_users_short_programs_events_prove_whose_they_were(
    daemon: Daemon, folder: Path
) -> None:
    short = program(folder, "annshort")
    with connected_as(ANN, daemon) as host:
        command = as_uid(ANN, short, "/dev/null")
        records, _ = told(host, lambda: [subprocess.run(command, check=True) for _ in range(100)])

    lives = [record for record in records if record.name.name == b"annshort"]
    assert len({record.pid for record in lives}) == 100
    assert str(short) in paths(records)


def test_under_own_nothing_is_told_of_anybody_else(daemon: Daemon, folder: Path) -> None:
    before, during, short = (program(folder, name) for name in ("benold", "bennew", "benshort"))
    powerful = program(folder, "rootcat")
    powerful.chmod(0o4755)
    pids: list[int] = []
    with connected_as(ANN, daemon) as host, running(*as_uid(BEN, before)) as old:

        def work() -> None:
            # Of the last one ANN is the real user, and root the effective one.
            for command in (as_uid(BEN, during), as_uid(ANN, powerful)):
                with running(*command) as pid:
                    pids.append(pid)
            for _ in range(20):
                subprocess.run(as_uid(BEN, short, "/dev/null"), check=True)

        records, _ = told(host, work)

    secret = {str(path) for path in (before, during, short, powerful)}
    assert not paths(records) & secret
    assert not names(records) & {b"benold", b"bennew", b"benshort", b"rootcat"}
    assert not {record.pid for record in records} & {old, pids[0]}
    assert 1 not in {record.pid for record in records}


def test_of_a_program_of_roots_that_becomes_the_users_nothing_is_told(
    daemon: Daemon, folder: Path
) -> None:
    """However short it runs before it starts another: what /proc says then is of that one."""
    becomes = Path(shutil.copy(shutil.which("setpriv") or "", folder / "rootprog"))
    mine = program(folder, "annbecame")
    command = [becomes, *as_uid(ANN, mine, "/dev/null")[1:]]
    with connected_as(ANN, daemon) as host:
        records, _ = told(host, lambda: [subprocess.run(command, check=True) for _ in range(150)])

    assert b"annbecame" in names(records)
    assert b"rootprog" not in names(records)
    assert str(becomes) not in paths(records)


def test_of_all_tasks_names_are_told_and_where_stacks_are_none_no_mappings(
    daemon: Daemon, folder: Path
) -> None:
    theirs = program(folder, "benseen")
    with connected_as(CAT, daemon) as host, running(*as_uid(BEN, theirs)) as pid:
        records, _ = told(host, lambda: None)

    assert b"benseen" in names(records)
    assert [r.WhichOneof("what") for r in records if r.pid == pid] == ["start", "name"]
    assert str(theirs) not in paths(records)


def test_who_may_see_all_stacks_is_told_of_all_mappings(daemon: Daemon, folder: Path) -> None:
    theirs = program(folder, "benknown")
    with daemon.connect() as host, running(*as_uid(BEN, theirs)):
        records, _ = told(host, lambda: None)

    assert str(theirs) in paths(records)


def test_a_scope_of_processes_is_that_of_the_records_too(daemon: Daemon, folder: Path) -> None:
    others = program(folder, "elsewhere")
    shell = 'read -r line; "$0" </dev/null; read -r line; exit 0'
    command = ["/bin/sh", "-c", shell, str(program(folder, "child"))]
    with (
        daemon.connect() as host,
        running(others),
        subprocess.Popen(command, stdin=subprocess.PIPE) as process,
    ):
        scope = pb.Scope(pids=[process.pid])
        request = pb.TraceRequest(selectors=[SYSCALLS], task_records=True, scope=scope)
        records: list[pb.TaskRecord] = []
        with host.open(request) as stream:
            process.communicate(b"\n\n")
            while True:
                message = stream.next(None)
                if message is not None:
                    records += message.tasks
                    if message.HasField("end"):
                        break

    assert b"child" in names(records)
    assert b"elsewhere" not in names(records)
    children = {r.pid for r in records if r.start.parent_pid == process.pid}
    assert {record.pid for record in records} == {process.pid, *children}


def test_no_record_is_older_than_a_mark_before_it(daemon: Daemon) -> None:
    with daemon.connect() as host:
        request = pb.TraceRequest(selectors=[SYSCALLS], task_records=True, mark_interval=1)
        marked, seen = 0, 0
        with host.open(request) as stream:
            for _ in range(50):
                subprocess.run(["true"], check=True)
            stream.stop()
            while True:
                message = stream.next(None)
                if message is None:
                    continue
                for record in message.tasks:
                    seen += record.time > stream.started.start_time
                    assert record.time >= marked or record.time <= stream.started.start_time
                marked = max(marked, message.mark.time)
                if message.HasField("end"):
                    break
    assert seen >= 50


def test_who_does_not_ask_is_told_nothing(daemon: Daemon) -> None:
    with daemon.connect() as host, host.open(pb.TraceRequest(selectors=[SYSCALLS])) as stream:
        subprocess.run(["true"], check=True)
        stream.stop()
        while True:
            message = stream.next(None)
            if message is not None:
                assert not message.tasks
                if message.HasField("end"):
                    break
        assert not stream.started.HasField("recorded_host")
        assert not stream.started.schemas[0].format_text


@pytest.mark.parametrize(("uid", "shown"), [(0, True), (ANN, False)])
def test_the_kernels_place_is_told_to_who_may_see_its_addresses(
    daemon: Daemon, uid: int, shown: bool
) -> None:
    with connected_as(uid, daemon) as host:
        request = pb.TraceRequest(selectors=[SYSCALLS], format_texts=True)
        with host.open(request) as stream:
            recorded = stream.started.recorded_host
            text = Path("/sys/kernel/tracing/events/raw_syscalls/sys_enter/format").read_text()
            assert stream.started.schemas[0].format_text == text
    assert recorded.header_page.startswith("\tfield: u64 timestamp;")
    assert (recorded.page_size, recorded.cpus_online > 0) == (resource.getpagesize(), True)
    assert bool(recorded.kernel_start) == shown
