"""Three users at one daemon, all busy, with all events that users may have of their own tasks."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import numpy as np
import pytest
from callers import own_rule
from commandline import open_folder
from processes import Daemon
from strangers import ANN, BEN, CAT, connected_as

from ptrace_client.host import Host
from ptrace_client.stream import Stream
from ptrace_proto import ptrace_pb2 as pb
from ptraced.policy import events
from ptraced.tracefs import Tracefs

pytestmark = pytest.mark.needs_kernel("BTF", "capabilities", "perf events")
HERE = Path(__file__).parent
# Delivered to all of them together.
EVENTS = 1_000_000
# Where /proc shows users their own tasks only, no event tells them more either.
HIDEPID = (
    *("unshare", "--mount", "--propagation", "private", "sh", "-euc"),
    'mount -t proc -o hidepid=invisible proc /proc; exec "$@"',
    "sh",
)
# Columns that name tasks; 0 where they are blank.
TASKS = ("_pid", "_tid", "pid", "tid", "prev_pid", "next_pid", "parent_pid", "child_pid")
SAMPLED = ("cpu-clock/-F 1000/", "page-faults", "context-switches", "task-clock")


# What the program calls; all other events of system calls are made the same way.
CALLS = (
    *("openat", "write", "lseek", "close", "rename", "unlink", "mmap", "munmap", "socketpair"),
    *("sendto", "recvfrom", "kill", "prctl", "sched_yield", "clock_nanosleep", "getppid"),
    *("execve", "wait4", "exit_group", "poll", "rt_sigaction", "clone"),
)
CALL_EVENTS = {f"syscalls:sys_{side}_{name}" for side in ("enter", "exit") for name in CALLS}


@dataclass
class User:
    """Who does what, and what only they know: a word, the head of numbers, a place in memory."""

    uid: int
    tag: str
    mark: int
    place: int
    program: Path = Path()
    pids: set[int] = field(default_factory=set)
    schemas: dict[int, pb.EventSchema] = field(default_factory=dict, repr=False)
    batches: list[pb.Batch] = field(default_factory=list, repr=False)
    stacks: list[bytes] = field(default_factory=list, repr=False)
    delivered: int = 0

    @property
    def secrets(self) -> tuple[bytes, ...]:
        """What no byte of another's events has in a row; the low ends of numbers change."""
        return (
            self.tag.encode(),
            self.mark.to_bytes(8, "little")[3:],
            self.place.to_bytes(8, "little")[2:],
        )


def users() -> tuple[User, ...]:
    return (
        User(ANN, "annswhisper", 0x5EC2E7A1B3000000, 0x5EC2A1B30000),
        User(BEN, "bensmurmur", 0x6DD3F8B2C4000000, 0x6DD3B2C40000),
        User(CAT, "catssecret", 0x7CE409C3D5000000, 0x7CE4C3D50000),
    )


def safe() -> list[str]:
    """The tracepoints of this kernel that users may have of their own tasks."""
    found = []
    for name in Tracefs.find().names():
        if name.startswith("syscalls:") and name not in CALL_EVENTS:
            continue
        entry = events.find(name)
        if entry is not None and not entry.denied:
            found.append(name)
    return found


@contextmanager
def working(user: User, folder: Path) -> Iterator[None]:
    """The user's program, at work until the end of the context."""
    ids = ["setpriv", f"--reuid={user.uid}", f"--regid={user.uid}", "--clear-groups"]
    # Its own shell first: what a process did as root is nobody's.
    command = [*ids, "sh", "-c", f"exec {user.program} {folder}"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        user.pids.add(int(process.stdout.readline()))
        listening = threading.Thread(target=listen, args=(process.stdout, user.pids))
        listening.start()
        try:
            yield
        finally:
            assert process.stdin is not None
            process.stdin.write(b"\n")
            process.stdin.close()
            listening.join()


def listen(said: IO[bytes], pids: set[int]) -> None:
    pids.update(map(int, said))


@pytest.fixture(scope="module")
def observed() -> Iterator[tuple[User, ...]]:
    """What the users saw of a million events."""
    with open_folder() as folder, ExitStack() as all_:
        place = folder / "daemon"
        place.mkdir(mode=0o777)
        place.chmod(0o777)
        everybody = users()
        rules = "".join(own_rule(user.uid) for user in everybody)
        daemon = Daemon(place, config=rules, prefix=HIDEPID)
        all_.callback(daemon.stop)
        for user in everybody:
            build(user, folder)
        watch_all(daemon, everybody, folder)
        yield everybody


def build(user: User, folder: Path) -> None:
    home = folder / user.tag
    home.mkdir()
    user.program = home / "program"
    named = [f"-DTAG={user.tag}", f"-DMARK={user.mark:#x}L", f"-DPLACE={user.place:#x}L"]
    command = ["gcc", "-O0", "-w", *named, "-o", user.program, HERE / "whisper.c"]
    subprocess.run(command, check=True)
    for path in (user.program, home):
        path.chmod(0o755)
        subprocess.run(["chown", str(user.uid), path], check=True)


def watch_all(daemon: Daemon, everybody: tuple[User, ...], folder: Path) -> None:
    """Have all users trace all they may, and work, until there are enough events of all."""
    names = safe()
    enough = threading.Event()

    def watch(user: User, stream: Stream) -> None:
        while True:
            try:
                message = stream.next(timeout=None)
            except EOFError:
                # Nobody waits for what does not come any more.
                enough.set()
                return
            if message is None:
                continue
            user.batches += message.batches
            user.stacks += [stack.SerializeToString() for stack in message.stacks]
            user.delivered += sum(batch.count for batch in message.batches)
            counts = [each.delivered for each in everybody]
            if sum(counts) >= EVENTS and min(counts) >= EVENTS / 8:
                enough.set()

    with ExitStack() as open_:
        streams = []
        for user in everybody:
            host: Host = open_.enter_context(connected_as(user.uid, daemon))
            probe = f'uprobe:{user.tag}_secret@"{user.program}"'
            request = pb.TraceRequest(
                selectors=[*names, *SAMPLED, probe], stacks=pb.Stacks(kernel=True, user=True)
            )
            stream = open_.enter_context(host.open(request))
            user.schemas = {schema.id: schema for schema in stream.started.schemas}
            streams.append(stream)
        readers = [
            threading.Thread(target=watch, args=pair)
            for pair in zip(everybody, streams, strict=True)
        ]
        for reader in readers:
            reader.start()
        with ExitStack() as at_work:
            for user in everybody:
                at_work.enter_context(working(user, folder / user.tag))
            enough.wait()
        for stream in streams:
            stream.stop()
        for reader in readers:
            reader.join()


def test_a_million_events_have_no_word_number_or_place_of_another(
    observed: tuple[User, ...],
) -> None:
    assert sum(user.delivered for user in observed) >= EVENTS
    for user in observed:
        foreign = [secret for other in observed if other is not user for secret in other.secrets]
        told = {
            (user.schemas[batch.schema_id].name, secret)
            for batch in user.batches
            for secret in foreign
            if secret in batch.rows
        }
        assert told == set()
        assert not [secret for secret in foreign for stack in user.stacks if secret in stack]


def test_what_is_looked_for_is_there_in_ones_own_events(observed: tuple[User, ...]) -> None:
    for user in observed:
        for secret in user.secrets:
            assert any(secret in batch.rows for batch in user.batches)
        assert any(user.tag.encode() in stack for stack in user.stacks)


def test_a_million_events_name_no_task_of_another(observed: tuple[User, ...]) -> None:
    for user in observed:
        for schema in user.schemas.values():
            for column in (each for each in schema.fields if each.name in TASKS):
                named = {int(value) for value in distinct(user, schema, column)}
                foreign = named - user.pids - ({0} if column.name != "_pid" else set())
                assert not foreign, f"{schema.name}.{column.name}"


def distinct(user: User, schema: pb.EventSchema, column: pb.Field) -> Iterator[int]:
    """The values that a column has in all rows."""
    for batch in user.batches:
        if batch.schema_id != schema.id:
            continue
        if schema.has_dynamic:
            end = column.offset + column.size
            for row in walked(batch.rows):
                yield int.from_bytes(row[column.offset : end], "little")
        else:
            table = np.frombuffer(batch.rows, np.uint8).reshape(batch.count, schema.row_size)
            cells = np.ascontiguousarray(table[:, column.offset : column.offset + column.size])
            yield from np.unique(cells.view(f"<i{column.size}"))


def walked(data: bytes) -> Iterator[bytes]:
    """Rows that have dynamic data, each behind its length."""
    at = 0
    while at < len(data):
        length = int.from_bytes(data[at : at + 4], "little")
        yield data[at + 4 : at + 4 + length]
        at += 4 + length


# What takes a host that is short of memory, a call that is not made, or the scheduler's whim.
RARE = (
    *("io_uring_", "mm_vmscan_", "itimer_", "emulate_vsyscall", "netlink_", "oom_", "rseq_"),
    *("sched_migrate_task", "sched_wait_task", "sys_exit_exit_group", "task_prctl_", "contention_"),
)


def test_what_users_may_have_was_made_to_fire(observed: tuple[User, ...]) -> None:
    for user in observed:
        fired = {batch.schema_id for batch in user.batches}
        silent = [each.name for each in user.schemas.values() if each.id not in fired]
        assert [name for name in silent if not name.startswith(RARE)] == []
