"""The reader thread: drains all rings in rounds and hands rows to sessions.

A round notes the time, empties every ring, reports losses, and then tells each
session that all that is older than the noted time has been offered.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import select
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from ptrace_proto import ptrace_pb2 as pb
from ptraced.log_flood import may_log
from ptraced.loss_counts import LostEvents
from ptraced.perf_event import Ring
from ptraced.policy.grant import Quota
from ptraced.quotas.budget import Budget
from ptraced.quotas.rates import Amount, Rates
from ptraced.quotas.turns import Turns
from ptraced.sampling.source import SamplingSource
from ptraced.session import Session
from ptraced.source import Source, now
from ptraced.stacks import StackTable
from ptraced.task_records import TaskRecord
from ptraced.tasks import Tasks, close_rings

AnySource = Source | SamplingSource

_log = logging.getLogger(__name__)
# The kernel's counts of skipped programs are asked for this often, ns: it takes
# a system call per program.
_SKIPPED_EVERY = 1_000_000_000
# A program reads the clock before it submits, and a virtual CPU may stop in between: marks
# stand this much before the time of their round, ns.
_MARK_MARGIN = 1_000_000
_SECOND = 1_000_000_000
# Processes in scope are looked for this often, ns.
_TARGETS_EVERY = 100_000_000


@dataclass(slots=True, eq=False)
class _Feed:
    """A source and who wants its rows: (session, schema id) per event of the source."""

    source: AnySource
    takers: list[list[tuple[Session, int]]]
    last_round: int = field(default_factory=now)
    skipped_since: int = field(default_factory=now)
    # Run time of its programs that sessions have been charged with, ns.
    charged: int = 0
    sessions: set[Session] = field(default_factory=set)

    def subscribe(self, session: Session, schema_ids: dict[int, int]) -> None:
        for event, schema_id in schema_ids.items():
            self.takers[event].append((session, schema_id))
        self.sessions.add(session)

    def unsubscribe(self, session: Session) -> None:
        for takers in self.takers:
            takers[:] = [taker for taker in takers if taker[0] is not session]
        self.sessions.discard(session)


class Reader:
    """Reads all sources of the daemon from one thread.

    `interval` is the longest time between rounds while anything is read, seconds:
    it bounds how long an event waits that no watermark announced. `tasks` are followed
    while a source needs that.
    """

    def __init__(
        self,
        interval: float,
        stacks: StackTable,
        tasks: Tasks,
        total: Callable[[], Quota] = Quota,
    ) -> None:
        self.rates = Rates(total)
        self._budget: Budget[Session] = Budget(total, now())
        self._overdrawn: list[tuple[Session, str]] = []
        self._interval = interval
        self._stacks = stacks
        self._tasks = tasks
        self._lock = threading.Lock()
        self._feeds: dict[AnySource, _Feed] = {}
        self._buffer = memoryview(bytearray(0))
        # Of sources that are served while another one is being read into the first.
        self._light_buffer = memoryview(bytearray(0))
        self._turns: Turns[_Feed] = Turns()
        # Those that are served in between, and when they were served last, ns.
        self._light: list[_Feed] = []
        self._light_at = 0
        self._serving_light = False
        # What that has taken in all, ns.
        self._light_time = 0
        self._poll = select.epoll()
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._poll.register(self._wake, select.EPOLLIN)
        self._stopping = False
        self._skipped_at = self._targets_at = now()
        # Who waits for the end of a round.
        self._asked: deque[threading.Event] = deque()
        # Called with a session all of whose processes are gone, from this thread.
        self.on_targets_gone: Callable[[Session], None] = lambda session: None
        # Called with a session that costs more than its user's budget, and what to tell it.
        self.on_overdrawn: Callable[[Session, str], None] = lambda session, text: None
        self._thread = threading.Thread(target=self._run, name="reader", daemon=True)
        self._thread.start()

    def allow(self, uid: int, quota: Quota) -> None:
        """Set what a user's sessions may take from now on."""
        self.rates.allow(uid, quota)
        self._budget.allow(uid, quota.cpu_percent)
        self._stacks.rates.allow(uid, quota.stacks_per_second)

    def check_budget(self, uid: int) -> None:
        """Raise LimitExceeded where a user's sessions have just cost more than they may."""
        self._budget.check(uid)

    def add(self, source: AnySource) -> None:
        """Read a source from now on."""
        with self._lock, contextlib.ExitStack() as undo:
            for ring in source.rings:
                self._poll.register(ring.fd, select.EPOLLIN)
                undo.callback(self._poll.unregister, ring.fd)
            if source.needs_tasks:
                for ring in self._tasks.acquire():
                    self._poll.register(ring.fd, select.EPOLLIN)
                undo.callback(self._let_tasks_go)
            self._feeds[source] = _Feed(source, [[] for _ in source.layouts])
            undo.callback(self._feeds.pop, source)
            if source.plan.payer is not None:
                self.rates.add(source.plan.payer, source, now())
            self._fit_buffer()
            undo.pop_all()
        self._notify()

    def subscribe(self, source: AnySource, session: Session, schema_ids: dict[int, int]) -> None:
        """Offer a source's rows to a session too; `schema_ids` maps its event numbers."""
        with self._lock:
            feed = self._feeds[source]
            # What happened before belongs to the others.
            self._drain(feed)
            self._report_skipped(feed)
            self._charge(feed)
            feed.subscribe(session, schema_ids)

    def unsubscribe(self, session: Session) -> None:
        """Offer a session what its sources hold by now, and then nothing more."""
        with self._lock:
            for feed in self._feeds.values():
                if session in feed.sessions:
                    self._drain(feed)
                    self._report_skipped(feed)
                    self._charge(feed)
                    feed.unsubscribe(session)
            self._budget.gone(session.caller.uid, session)

    def remove(self, source: AnySource) -> None:
        """Read a source no longer; its rings may be closed after this."""
        with self._lock:
            feed = self._feeds.pop(source)
            self._turns.forget(feed)
            if feed in self._light:
                self._light.remove(feed)
            if source.plan.payer is not None:
                self.rates.remove(source.plan.payer, source)
            for ring in source.rings:
                self._poll.unregister(ring.fd)
            if source.needs_tasks:
                self._let_tasks_go()
            self._fit_buffer()

    def tell_tasks(self, listener: Callable[[Sequence[TaskRecord]], None]) -> None:
        """Give a listener the records of all tasks from now on."""
        with self._lock:
            for ring in self._tasks.acquire():
                self._poll.register(ring.fd, select.EPOLLIN)
            # What happened before is none of its business.
            self._tasks.catch_up()
            self._tasks.listeners.append(listener)
        self._notify()

    def stop_telling_tasks(self, listener: Callable[[Sequence[TaskRecord]], None]) -> None:
        """Give a listener what there is by now, and then nothing more."""
        with self._lock:
            self._tasks.catch_up()
            self._tasks.listeners.remove(listener)
            self._let_tasks_go()

    def catch_up_with_tasks(self) -> None:
        """Give the listeners all that has happened to tasks by now."""
        with self._lock:
            self._tasks.catch_up()

    def _let_tasks_go(self) -> None:
        rings = self._tasks.release()
        for ring in rings:
            self._poll.unregister(ring.fd)
        close_rings(rings)

    def responds(self, seconds: float) -> bool:
        """Whether the thread finishes a round within some seconds."""
        answered = threading.Event()
        self._asked.append(answered)
        self._notify()
        return answered.wait(seconds)

    def close(self) -> None:
        """End the thread."""
        self._stopping = True
        self._notify()
        self._thread.join()
        self._poll.close()
        os.close(self._wake)

    def _fit_buffer(self) -> None:
        """Keep one buffer that takes the largest ring: fresh ones would cost page faults."""
        largest = max(
            (ring.size for feed in self._feeds.values() for ring in feed.source.rings), default=0
        )
        if largest != len(self._buffer):
            self._buffer = memoryview(bytearray(largest))
            self._light_buffer = memoryview(bytearray(0))

    def _notify(self) -> None:
        os.eventfd_write(self._wake, 1)

    def _run(self) -> None:
        while not self._stopping:
            events = self._poll.poll(self._interval if self._feeds else None)
            if any(fd == self._wake for fd, _ in events):
                os.eventfd_read(self._wake)
            try:
                for session in self._round():
                    self.on_targets_gone(session)
                overdrawn, self._overdrawn = self._overdrawn, []
                for session, text in overdrawn:
                    self.on_overdrawn(session, text)
            except Exception:
                # A bug of ours must not stop everybody's stream.
                if may_log("a drain round failed"):
                    _log.exception("a drain round failed")
            while self._asked:
                self._asked.popleft().set()

    def _round(self) -> set[Session]:
        started = now()
        with self._lock:
            self._stacks.trim()
            self._light, self._light_at = [], started
            self._serve(self._in_turn())
            if started - self._skipped_at >= _SKIPPED_EVERY:
                self._skipped_at = started
                for feed in self._feeds.values():
                    self._report_skipped(feed)
                    self._charge(feed)
                self._overdrawn += self._budget.overdrawn(started)
            return self._sessions_without_targets(started)

    def _in_turn(self) -> list[_Feed]:
        """All sources, those first whose users have taken the least of this thread's time."""
        users = {
            feed: {session.caller.uid for session in feed.sessions} for feed in self._feeds.values()
        }
        return self._turns.order(users)

    def _serve(self, feeds: Sequence[_Feed]) -> None:
        """Drain sources in this order; a session is marked as soon as all of its own are done."""
        started = now()
        self._tasks.catch_up()
        left = Counter(session for feed in self._feeds.values() for session in feed.sessions)
        for feed in feeds:
            if not self._serving_light:
                self._light.append(feed)
            try:
                self._drain(feed)
            except Exception:
                if may_log("a source cannot be read"):
                    _log.exception("a source cannot be read")
            for session in feed.sessions:
                left[session] -= 1
                if not left[session]:
                    session.mark(started - _MARK_MARGIN)
        self.rates.settle(now())

    def _serve_light(self, current: _Feed) -> None:
        """Serve those once more whose turn was before, where `current` takes its time."""
        if self._serving_light or now() - self._light_at < self._interval * _SECOND:
            return
        before = itertools.takewhile(lambda feed: feed is not current, self._light)
        self._serving_light, started = True, now()
        try:
            self._serve(self._turns.light(before, self._interval * _SECOND))
        finally:
            self._serving_light = False
            self._light_at = now()
            self._light_time += self._light_at - started

    def _drain(self, feed: _Feed) -> None:
        started, light = now(), self._light_time
        read = Amount()
        for ring in feed.source.rings:
            self._drain_ring(feed, ring, read)
        self._lose(feed, feed.source.lost(), pb.LOSS_STAGE_KERNEL_BUFFER)
        payer = feed.source.plan.payer
        if payer is not None:
            throttled = feed.source.throttled()
            self._lose(feed, throttled, pb.LOSS_STAGE_THROTTLED)
            count = sum(lost.count * len(feed.takers[lost.event]) for lost in throttled)
            self.rates.charge(payer, feed.source, read, count, started)
            if throttled:
                reason = self.rates.reason(payer)
                for session in feed.sessions:
                    session.throttle(started, reason)
        feed.last_round = started
        self._turns.note(feed, now() - started - (self._light_time - light))

    def _lose(self, feed: _Feed, lost: Iterable[LostEvents], stage: pb.LossStage) -> None:
        between = feed.last_round, now()
        for one in lost:
            for session, schema_id in feed.takers[one.event]:
                session.lose(schema_id, one.cpu, one.count, stage, between)

    def _drain_ring(self, feed: _Feed, ring: Ring, read: Amount) -> None:
        # Reads the ring at once, and makes the rows later: all programs that were started
        # before a row are known then, also to those who are told of tasks.
        batches = feed.source.rows(ring, self._room_for(ring))
        if ring.filled and (feed.source.needs_tasks or self._tasks.listeners):
            self._tasks.catch_up()
        for rows in batches:
            takers = feed.takers[rows.event]
            read.add(rows.count * len(takers), len(rows.data) * len(takers))
            for session, schema_id in takers:
                session.offer(schema_id, ring.cpu, rows)
            self._serve_light(feed)

    def _room_for(self, ring: Ring) -> memoryview:
        """The buffer that no other ring is being read into."""
        if not self._serving_light:
            return self._buffer
        if ring.size > len(self._light_buffer):
            self._light_buffer = memoryview(bytearray(ring.size))
        return self._light_buffer

    def _report_skipped(self, feed: _Feed) -> None:
        for text in feed.source.warnings():
            for session in feed.sessions:
                session.warn(text)
        for event, runs in feed.source.skipped():
            for session, schema_id in feed.takers[event]:
                session.lose(
                    schema_id, -1, runs, pb.LOSS_STAGE_SKIPPED, (feed.skipped_since, now())
                )
        feed.skipped_since = now()

    def _charge(self, feed: _Feed) -> None:
        """Divide what the programs of a source have cost among the sessions that share it."""
        total = feed.source.run_time()
        for session in feed.sessions:
            share = (total - feed.charged) // len(feed.sessions)
            self._budget.note(session.caller.uid, session, share)
            session.run_time += share
        feed.charged = total

    def _sessions_without_targets(self, at: int) -> set[Session]:
        if at - self._targets_at < _TARGETS_EVERY:
            return set()
        self._targets_at = at
        gone: set[Session] = set()
        for feed in self._feeds.values():
            if feed.source.plan.scope.has_tasks and not feed.source.has_live_tasks():
                gone |= feed.sessions
        return gone
