"""The sessions of the daemon: opened, listed, stopped, and closed without a trace."""

from __future__ import annotations

import contextlib
import secrets
import threading
import time
from collections import Counter
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from ptrace_proto import ptrace_pb2 as pb
from ptraced import log
from ptraced.audit import kinds
from ptraced.audit.trail import Audit
from ptraced.config import Config
from ptraced.diagnostics import printable
from ptraced.errors import LimitExceeded, NotFound
from ptraced.hub import Hub
from ptraced.identity import Caller, renewed
from ptraced.planner import SessionPlan, plan_session
from ptraced.policy.grant import Grant, Quota
from ptraced.policy.refusals import check_named
from ptraced.policy.renewal import Granted, withdrawn
from ptraced.quotas.accounts import Account, Accounts
from ptraced.quotas.one_at_a_time import OneAtATime
from ptraced.quotas.queue_room import QueueRoom
from ptraced.reader import AnySource, Reader
from ptraced.recorded_host import recorded_host
from ptraced.session import Session, Usage, stage_name
from ptraced.source import now
from ptraced.stacks import StackTable
from ptraced.task_news import TaskNews
from ptraced.tracefs import Tracefs
from ptraced.user_counts import UserCounts

# Seconds that the stream of a killed session gets to carry its end.
_KILL_PATIENCE = 2.0
# Characters of an id that an error shows.
_ID_MAX = 64
_SHUTDOWN = "ptraced is shutting down"


@dataclass(slots=True)
class _Open:
    session: Session
    sources: list[AnySource]
    account: Account
    granted: tuple[Granted, ...]
    killed: bool = False
    tells_tasks: bool = False


class Sessions:
    """Opens sessions on the hub's sources and keeps the books."""

    def __init__(
        self,
        config: Config,
        tracefs: Tracefs,
        headers: Path,
        hub: Hub,
        reader: Reader,
        stacks: StackTable,
        accounts: Accounts,
        audit: Audit,
    ) -> None:
        self._audit = audit
        self._config = config
        self._accounts = accounts
        # Reading and checking what is asked for.
        self.planning = OneAtATime()
        # Making samples that describe themselves.
        self._decoding = OneAtATime()
        self._room = QueueRoom(config.limits.total_queue_bytes)
        self._tracefs = tracefs
        self._headers = headers
        self._hub = hub
        self._reader = reader
        self._stacks = stacks
        self._lock = threading.Lock()
        self._open: dict[str, _Open] = {}
        self._opening = 0
        self._closing = False
        # What sessions that are over have carried.
        self._ended: UserCounts[str] = UserCounts()
        stacks.on_resolved = self._stacks_resolved
        reader.on_overdrawn = lambda session, text: self._finish(
            session, pb.END_REASON_OVER_BUDGET, text
        )
        reader.on_targets_gone = lambda session: self._finish(
            session, pb.END_REASON_TARGETS_GONE, "all traced processes are gone"
        )

    def grant(self, caller: Caller) -> Grant:
        """What the policy allows a caller by now."""
        return self._config.policy.grant(caller)

    def open(self, request: pb.TraceRequest, caller: Caller) -> tuple[Session, pb.Started]:
        """Check a request, attach what it asks for, and start to queue.

        Raises TraceError; nothing is left attached then.
        """
        with self._lock:
            if self._closing:
                raise LimitExceeded(f"error: {_SHUTDOWN}")
            if len(self._open) + self._opening >= self._config.limits.sessions:
                raise LimitExceeded(
                    f"error: {self._config.limits.sessions} sessions are open, which is the limit"
                )
            self._opening += 1
        try:
            config = self._config
            grant = config.policy.grant(caller)
            check_named(grant)
            self._reader.check_budget(caller.uid)
            account = self._accounts.open(caller.uid, grant.quota)
            with contextlib.ExitStack() as failed:
                failed.callback(account.close)
                self._reader.allow(caller.uid, grant.quota)
                with self.planning.turn_of(caller.uid):
                    plan = plan_session(request, self._tracefs, self._headers, config, grant)
                account.reserve(plan.holding)
                share = self._room.share(caller.uid)
                tasks = None
                if plan.tasks is not None:
                    known = plan.tasks, request.scope, plan.layouts
                    tasks = TaskNews(*known, now(), share, self._reader.catch_up_with_tasks)
                session = Session(
                    secrets.token_hex(8),
                    request,
                    plan.schemas,
                    self._config.limits.queue_bytes,
                    caller,
                    self._stacks,
                    share,
                    plan.addresses,
                    tasks,
                )
                session.on_throttle = self._throttled
                session.decoding = partial(self._decoding.turn_of, caller.uid)
                failed.callback(session.cancel)
                opened = self._attach(session, plan, account)
                plan.unpin()
                failed.pop_all()
            with self._lock:
                self._open[session.id] = opened
                closing = self._closing
                reloaded = self._config is not config
        finally:
            with self._lock:
                self._opening -= 1
        if closing:
            self._finish(session, pb.END_REASON_SHUTDOWN, _SHUTDOWN)
        if reloaded:
            self._end_if_withdrawn(opened)
        for text in plan.warnings:
            session.warn(text)
        self._audit.record(
            kinds.SESSION_START, caller, session=session.id, **_asked(request), rules=plan.rules
        )
        started = self._started(session)
        if request.format_texts:
            started.recorded_host.CopyFrom(recorded_host(self._tracefs, plan.addresses))
        return session, started

    def _stacks_resolved(self) -> None:
        with self._lock:
            sessions = [opened.session for opened in self._open.values()]
        for session in sessions:
            session.stacks_resolved()

    def _throttled(self, session: Session, throttle: pb.Throttle) -> None:
        """Called by the reader, who must not wait for a disk."""
        kind = kinds.THROTTLE_START if throttle.started else kinds.THROTTLE_STOP
        facts = {"reason": throttle.reason} if throttle.reason else {}
        self._audit.record_soon(kind, session.caller, session=session.id, **facts)

    def _attach(self, session: Session, plan: SessionPlan, account: Account) -> _Open:
        opened = _Open(session, [], account, plan.granted)
        try:
            if session.tasks is not None:
                # Before the first event: nothing that happens to its task is missed.
                self._reader.tell_tasks(session.tasks.offer)
                opened.tells_tasks = True
            for module in plan.modules:
                source = self._hub.acquire(module.plan, plan.rings, account.uid, account.quota)
                opened.sources.append(source)
                self._reader.subscribe(source, session, module.schema_ids)
                if source.pages < plan.rings.pages:
                    session.warn(
                        f"the kernel buffer has {source.pages} pages per CPU instead of "
                        f"{plan.rings.pages}: the daemon may lock no more memory (LimitMEMLOCK=)"
                    )
        except BaseException:
            self._detach(opened)
            raise
        return opened

    def _detach(self, opened: _Open) -> None:
        self._reader.unsubscribe(opened.session)
        self._stop_telling(opened)
        for source in opened.sources:
            self._hub.release(source)
        opened.sources.clear()

    def _stop_telling(self, opened: _Open) -> None:
        with self._lock:
            telling, opened.tells_tasks = opened.tells_tasks, False
        if telling and opened.session.tasks is not None:
            self._reader.stop_telling_tasks(opened.session.tasks.offer)

    def _started(self, session: Session) -> pb.Started:
        return pb.Started(
            session_id=session.id,
            schemas=session.schemas,
            realtime_offset=realtime_offset(),
            start_time=now(),
        )

    def stop(self, session_id: str, caller: Caller) -> None:
        """Deliver what a session's buffers hold, then end its stream."""
        opened = self._find(session_id, caller)
        if opened.session.ended:
            raise _no_session(session_id)
        self._finish(opened.session, pb.END_REASON_STOPPED)

    def kill(self, session_id: str, caller: Caller) -> None:
        """End a session at once; its stream is cut where the client does not read even its end.

        Raises NotFound for sessions that the caller may not see as for those that are not there.
        """
        opened = self._find(session_id, caller)
        with self._lock:
            if opened.killed:
                raise _no_session(session_id)
            opened.killed = True
        session = opened.session
        self._audit.record(
            kinds.KILL,
            caller,
            session=session.id,
            of_uid=session.caller.uid,
            of_user=session.caller.user,
        )
        by = caller.user or f"uid {caller.uid}"
        self._finish(session, pb.END_REASON_KILLED, f"killed by {by}", at_once=True)
        timer = threading.Timer(_KILL_PATIENCE, session.cut or session.cancel)
        timer.daemon = True
        timer.start()

    def _find(self, session_id: str, caller: Caller) -> _Open:
        with self._lock:
            opened = self._open.get(session_id)
        if opened is None:
            raise _no_session(session_id)
        if not self._may_see(caller, opened.session):
            # The caller is told what is true of a session that is not there.
            reason = f"session of uid {opened.session.caller.uid}"
            self._audit.record(kinds.DENIED, caller, session=session_id, reason=reason)
            raise _no_session(session_id)
        return opened

    def _finish(
        self, session: Session, reason: pb.EndReason, text: str = "", *, at_once: bool = False
    ) -> None:
        """Deliver what a session's sources hold, and let go of them: the stream may be slow.

        `at_once` drops what is queued instead.
        """
        with self._lock:
            opened = self._open.get(session.id)
            sources = opened.sources if opened is not None else []
            if opened is not None:
                opened.sources = []
        self._reader.unsubscribe(session)
        if opened is not None:
            self._stop_telling(opened)
        (session.end_at_once if at_once else session.finish)(reason, text)
        for source in sources:
            self._hub.release(source)

    def close(self, session: Session) -> None:
        """Forget a session whose stream is over, however it came to that."""
        session.cancel()
        with self._lock:
            opened = self._open.pop(session.id, None)
            if opened is None:
                return
            usage = session.usage()
            self._ended.add(session.caller.uid, _counts(usage))
        self._detach(opened)
        opened.account.close()
        self._audit.record(kinds.SESSION_STOP, session.caller, session=session.id, **_told(usage))

    def list(self, caller: Caller) -> list[Session]:
        """The open sessions that a caller may see: its own; all of them for administrators."""
        with self._lock:
            sessions = [opened.session for opened in self._open.values()]
        return [session for session in sessions if self._may_see(caller, session)]

    def counts(self) -> dict[int | None, Counter[str]]:
        """By uid: "events", "bytes" and "lost STAGE" of all sessions, "open" and "queued" ones."""
        with self._lock:
            found = self._ended.snapshot()
            for opened in self._open.values():
                usage = opened.session.usage()
                counts = found.setdefault(opened.session.caller.uid, Counter())
                counts.update({**_counts(usage), "open": 1, "queued": usage.queued_bytes})
            return found

    def used(self, caller: Caller) -> Quota:
        """What a caller holds and uses now, in the units of its quota."""
        events, size = self._reader.rates.used(caller.uid)
        return replace(
            self._accounts.used(caller.uid), events_per_second=events, bytes_per_second=size
        )

    def _may_see(self, caller: Caller, session: Session) -> bool:
        return caller.uid == session.caller.uid or self.grant(caller).admin

    def reload(self, config: Config) -> None:
        """Take the rules and quotas of a configuration, and end sessions they do not allow."""
        with self._lock:
            self._config = replace(self._config, policy=config.policy, quota=config.quota)
            self._accounts.total = config.quota
            opened = list(self._open.values())
        for each in opened:
            caller = renewed(each.session.caller)
            self._reader.allow(caller.uid, self.grant(caller).quota)
            self._end_if_withdrawn(each)

    def _end_if_withdrawn(self, opened: _Open) -> None:
        text = withdrawn(opened.granted, self.grant(renewed(opened.session.caller)))
        if text and not opened.session.ended:
            self._finish(opened.session, pb.END_REASON_NOT_ALLOWED, text)
            log.event("session not allowed any more", session=opened.session.id, reason=text)

    def shut_down(self) -> None:
        """End all streams, and open no more."""
        with self._lock:
            self._closing = True
            sessions = [opened.session for opened in self._open.values()]
        for session in sessions:
            self._finish(session, pb.END_REASON_SHUTDOWN, _SHUTDOWN)


def _asked(request: pb.TraceRequest) -> dict[str, object]:
    """What an audit line has of a request: what is not the default."""
    scope = request.scope
    facts = {
        "label": request.label,
        "selectors": list(request.selectors),
        "pids": list(scope.pids),
        "tids": list(scope.tids),
        "cgroups": list(scope.cgroups),
        "cpus": scope.cpus,
        "task_records": request.task_records,
    }
    return {name: value for name, value in facts.items() if value}


def _counts(usage: Usage) -> dict[str, int]:
    losses = {f"lost {stage_name(stage)}": count for stage, count in usage.lost.items()}
    return {
        "events": usage.events,
        "bytes": usage.bytes,
        "run_time": usage.run_time,
        **losses,
    }


def _told(usage: Usage) -> dict[str, object]:
    """What an audit line has of a session that is over."""
    return {
        "reason": usage.end,
        **({"text": usage.end_text} if usage.end_text else {}),
        "seconds": round(usage.seconds, 3),
        "delivered": usage.events,
        "bytes": usage.bytes,
        "bpf_seconds": round(usage.run_time / 1e9, 6),
        **{f"lost_{stage_name(stage)}": count for stage, count in usage.lost.items() if count},
    }


def _no_session(session_id: str) -> NotFound:
    return NotFound(f"error: no session {printable(session_id[:_ID_MAX])}")


def realtime_offset() -> int:
    """CLOCK_REALTIME minus CLOCK_MONOTONIC, ns."""
    return time.time_ns() - now()
