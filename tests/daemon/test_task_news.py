"""Records of tasks on their way to a client: bounded, filtered, ahead of rows, counted if lost."""

from __future__ import annotations

import dataclasses
import os
import struct

import pytest
from pendingframes import PendingFrames

from ptrace_proto import ptrace_pb2 as pb
from ptraced.identity import Caller
from ptraced.layout import Column, RowLayout
from ptraced.policy.task_rights import TaskRights
from ptraced.quotas.queue_room import QueueRoom
from ptraced.row_columns import rows_of
from ptraced.rows import Rows
from ptraced.session import Session
from ptraced.stacks import StackTable
from ptraced.task_news import TaskNews
from ptraced.task_records import Comm, Exit, Fork, Lost, Mmap2, TaskRecord
from ptraced.task_snapshot import process_of

ME = Caller(os.getuid(), os.getgid())
# No process has it.
GONE = 4_000_000
LAYOUT = RowLayout(
    (
        Column("_time", pb.FIELD_KIND_UNSIGNED, 8, 8, None),
        Column("_pid", pb.FIELD_KIND_SIGNED, 4, 4, None, 8),
    ),
    12,
    False,
)
SCHEMA = pb.EventSchema(id=1, system="sched", name="sched_switch", row_size=12)


def news(
    *, everyone: bool = True, room: int = 1 << 30, pids: tuple[int, ...] = (os.getpid(),)
) -> TaskNews:
    own = frozenset() if everyone else frozenset((1,))
    rights = TaskRights(ME, everyone, everyone, own)
    share = QueueRoom(room).share(0)
    return TaskNews(rights, pb.Scope(pids=pids), {1: LAYOUT}, 7, share)


def session(tasks: TaskNews) -> Session:
    share = QueueRoom(1 << 30).share(0)
    table = StackTable(PendingFrames())
    return Session("id", pb.TraceRequest(), [SCHEMA], 1 << 20, ME, table, share, True, tasks)


def told(of: Session) -> list[pb.TraceResponse]:
    return [pb.TraceResponse.FromString(message) for message in of.messages()]


def row(pid: int, time: int) -> Rows:
    return Rows(0, 1, struct.pack("<Qi", time, pid), time, time)


def test_tasks_of_the_start_come_first() -> None:
    one = session(news())
    one.finish(pb.END_REASON_STOPPED)

    first, *_ = told(one)

    start, name, *more = first.tasks
    # Whatever the numbers of other threads of this process are.
    assert (start.pid, start.tid, start.time) == (os.getpid(), os.getpid(), 7)
    assert start.start.parent_pid == os.getppid()
    with open("/proc/self/comm", "rb") as file:
        assert name.name == pb.TaskName(name=file.read().removesuffix(b"\n"))
    mappings = [task.mapping for task in more if task.HasField("mapping")]
    assert {task.pid for task in more} == {os.getpid()}
    with open("/proc/self/maps") as lines:
        expected = [line.split() for line in lines if line.split()[1][2] == "x"]
    places = [(mapping.start, mapping.start + mapping.length) for mapping in mappings]
    assert places == [tuple(int(end, 16) for end in line[0].split("-")) for line in expected]
    files = [(m.inode, m.path.decode()) for m in mappings if m.inode]
    assert files == [(int(line[4]), line[5]) for line in expected if int(line[4])]


def test_every_kind_of_record_is_carried_ahead_of_the_mark() -> None:
    tasks = news(pids=())
    one = session(tasks)
    records: list[TaskRecord] = [
        Fork(5, 4, 5, 4, 100),
        Comm(5, 5, b"ab\xff", True, 101),
        Mmap2(5, 5, 4096, 8192, 512, "/bin/\udcff", None, (os.makedev(8, 1), 77), 102),
        Exit(5, 4, 5, 4, 103),
        Lost(9),
    ]
    tasks.offer(records)
    one.mark(200)
    one.finish(pb.END_REASON_STOPPED)

    message = told(one)[-1]

    lost, *news_ = message.tasks
    assert lost == pb.TaskRecord(lost=9)
    common = {"pid": 5, "tid": 5}
    mapping = pb.TaskMapping(
        start=4096, length=8192, offset=512, path=b"/bin/\xff", major=8, minor=1, inode=77
    )
    parent = {"parent_pid": 4, "parent_tid": 4}
    assert news_ == [
        pb.TaskRecord(time=100, start=pb.TaskStart(**parent), **common),
        pb.TaskRecord(time=101, name=pb.TaskName(name=b"ab\xff", is_exec=True), **common),
        pb.TaskRecord(time=102, mapping=mapping, **common),
        pb.TaskRecord(time=103, end=pb.TaskEnd(**parent), **common),
    ]
    assert message.mark.time == 200


def test_rows_prove_whose_a_process_was_that_has_ended() -> None:
    tasks = news(everyone=False, pids=())
    one = session(tasks)
    life: list[TaskRecord] = [Comm(GONE, GONE, b"ls", True, 10), Exit(GONE, 1, GONE, 1, 20)]
    life += [Comm(GONE + 1, GONE + 1, b"sudo", True, 10)]
    tasks.offer(life)
    one.offer(1, 0, row(GONE, 15))
    one.finish(pb.END_REASON_STOPPED)

    *_, message = told(one)

    about = [task for task in message.tasks if task.pid in (GONE, GONE + 1)]
    assert [(task.pid, task.WhichOneof("what")) for task in about] == [
        (GONE, "name"),
        (GONE, "end"),
    ]


@pytest.mark.parametrize("dynamic", [False, True])
def test_rows_are_found_by_their_process(dynamic: bool) -> None:
    rows = [struct.pack("<Qi", time, pid) for time, pid in ((1, 5), (2, 6), (3, 5), (4, 7))]
    if dynamic:
        rows = [struct.pack("<I", len(each) + 3) + each + b"abc" for each in rows]
    layout = dataclasses.replace(LAYOUT, has_dynamic=dynamic)

    assert list(rows_of(layout, b"".join(rows), {5, 7, 8})) == [(5, 1), (5, 3), (7, 4)]
    without = dataclasses.replace(layout, columns=LAYOUT.columns[:1])
    assert list(rows_of(without, b"".join(rows), {5})) == []


def test_what_has_no_room_is_lost_and_counted_and_the_room_is_given_back() -> None:
    tasks = news(room=20_000, pids=())
    name = Comm(5, 5, b"x", False, 100)

    tasks.offer([name] * 15)
    tasks.offer([name] * 15)
    assert tasks.take() == [name] * 15 + [Lost(15)]
    tasks.offer([name] * 15)
    assert tasks.take() == [name] * 15


def test_a_session_that_goes_gives_the_room_of_its_news_back() -> None:
    tasks = news(room=20_000)
    one = session(tasks)
    tasks.offer([Comm(5, 5, b"x", False, 100)] * 15)

    one.cancel()
    tasks.offer([Comm(5, 5, b"x", False, 100)])

    assert not tasks


def test_a_thread_stands_for_its_process() -> None:
    assert process_of(os.getpid()) == os.getpid()
    assert process_of(GONE) == GONE


def test_long_paths_count_as_what_they_are() -> None:
    tasks = news(room=40_000, pids=())
    mapping = Mmap2(5, 5, 4096, 8192, 0, "/" + "x" * 4095, None, None, 1)

    tasks.offer([mapping])
    tasks.offer([mapping])
    assert tasks.take() == [mapping, Lost(1)]
    tasks.offer([mapping])
    assert tasks.take() == [mapping]


def test_what_is_looked_up_is_held_to_what_happens_meanwhile() -> None:
    """A program of another becomes one of ours between its records and the look at it."""
    me = os.getpid()
    share = QueueRoom(1 << 30).share(0)
    rights = TaskRights(ME, False, False, frozenset((1,)))
    meanwhile: list[TaskRecord] = [Comm(me, me, b"mine", True, 2)]
    tasks = TaskNews(
        rights, pb.Scope(), {1: LAYOUT}, 7, share, lambda: tasks.offer([meanwhile.pop()])
    )
    secret: list[TaskRecord] = [Comm(me, me, b"secret", True, 1)]

    assert list(tasks.fragments(secret, [])) == []
    meanwhile.append(Comm(GONE, GONE, b"else", True, 4))
    (told,) = tasks.fragments(tasks.take(), [])
    assert b"mine" in told
