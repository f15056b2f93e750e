"""Records of tasks on their way to one client: a bounded queue, and a filter behind it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence

from ptrace_proto import ptrace_pb2 as pb
from ptraced import wire
from ptraced.batch_queue import QueuedBatch
from ptraced.layout import RowLayout
from ptraced.policy.task_rights import TaskRights
from ptraced.policy.task_view import TaskView
from ptraced.quotas.queue_room import Share
from ptraced.row_columns import rows_of
from ptraced.task_messages import task_message
from ptraced.task_records import Lost, TaskRecord, memory_of
from ptraced.task_snapshot import process_of, snapshot

# Records that wait.
_WAITING_MAX = 16384


class TaskNews:
    """What a session tells of tasks. `offer` is the reader's, the rest is for the call's thread.

    `layouts` are those of the session's events by the number of their schema. `catch_up` has all
    offered that happened before its call.
    """

    def __init__(
        self,
        rights: TaskRights,
        scope: pb.Scope,
        layouts: dict[int, RowLayout],
        start: int,
        share: Share,
        catch_up: Callable[[], object] = lambda: None,
    ) -> None:
        self._processes = sorted({*scope.pids, *map(process_of, scope.tids)})
        self._view = TaskView(rights, self._processes)
        self._own = {number: layouts[number] for number in rights.own}
        self._start = start
        self._share = share
        self._catch_up = catch_up
        self._lock = threading.Lock()
        self._waiting: list[TaskRecord] = []
        self._held = 0
        self._lost = 0
        self._closed = False

    def __bool__(self) -> bool:
        return bool(self._waiting or self._lost)

    def offer(self, records: Sequence[TaskRecord]) -> None:
        """Queue records, or count them as lost where there is no room."""
        with self._lock:
            if self._closed:
                return
            room = len(self._waiting) + len(records) <= _WAITING_MAX
            size = sum(map(memory_of, records))
            if room and self._share.take(size):
                self._waiting += records
                self._held += size
            else:
                self._lost += len(records)

    def take(self) -> list[TaskRecord]:
        """All that waits."""
        with self._lock:
            records, self._waiting = self._waiting, []
            self._share.give_back(self._held)
            self._held = 0
            if self._lost:
                records.append(Lost(self._lost))
                self._lost = 0
        return records

    def close(self) -> None:
        """Drop what waits, and all that comes."""
        self._closed = True
        self.take()

    def snapshot(self) -> Iterator[bytes]:
        """Fragments of TraceResponses with the tasks that were there at the start."""
        return map(_fragment, snapshot(self._view, self._start, self._processes))

    def fragments(
        self, records: Iterable[TaskRecord], batches: Iterable[QueuedBatch]
    ) -> Iterator[bytes]:
        """Fragments with what the caller may know of records, and what these batches prove."""
        yield from map(_fragment, self._view.admit(records, self._since))
        for batch in batches:
            layout = self._own.get(batch.schema_id)
            withheld = self._view.withheld
            if layout is None or not withheld:
                continue
            for pid, time in rows_of(layout, batch.rows.data, withheld):
                yield from map(_fragment, self._view.prove(pid, time))

    def _since(self) -> list[TaskRecord]:
        """What has happened since the records that were taken."""
        self._catch_up()
        with self._lock:
            return [*self._waiting, *[Lost(self._lost)] * bool(self._lost)]


def _fragment(record: TaskRecord) -> bytes:
    data = task_message(record).SerializeToString()
    return wire.task_header(len(data)) + data
