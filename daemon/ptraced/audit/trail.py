"""The audit: facts about users become lines, as many as are good for the disk."""

from __future__ import annotations

import queue
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from ptraced.audit import kinds
from ptraced.audit.flood import FloodGate
from ptraced.audit.kinds import Kind
from ptraced.audit.sinks import Sink
from ptraced.identity import Caller, Via, user_name
from ptraced.user_counts import UserCounts

_Line = tuple[Kind, Caller | None, dict[str, Any]]

# Seconds after which is told what was left out.
_SUMMARY_AFTER = 10.0
# Characters of a text and of one in a list, and items of that.
_TEXT_MAX = 1000
_ITEM_MAX = 200
_LIST_MAX = 16


class Audit:
    """Writes lines to `sinks`. All methods may be called by any thread, and raise nothing."""

    def __init__(
        self,
        sinks: Sequence[Sink],
        clock: Callable[[], float] = time.monotonic,
        summary_after: float = _SUMMARY_AFTER,
    ) -> None:
        self._sinks = sinks
        self._clock = clock
        self._summary_after = summary_after
        self._lock = threading.Lock()
        self._gate: FloodGate[tuple[int | None, Kind]] = FloodGate()
        self._summary: threading.Timer | None = None
        # Lines by kind, those that a sink could not take, and those that were too many.
        self.written: dict[Kind, int] = {}
        self._counts: UserCounts[Kind] = UserCounts()
        # What the thread that writes for others is to write; None ends it.
        self._queue: queue.SimpleQueue[_Line | None] = queue.SimpleQueue()
        self._writer: threading.Thread | None = None
        self.lost = 0
        self.left_out = 0

    def record(self, kind: Kind, who: Caller | None, **facts: Any) -> None:
        """Write a line about what a caller did, or what was done to it; None: nobody knows who."""
        if self._admits(kind, who):
            self._write(kind, {**_identity(who), **facts})

    def record_soon(self, kind: Kind, who: Caller | None, **facts: Any) -> None:
        """Have a line written by another thread: this one is not held up."""
        if not self._admits(kind, who):
            return
        with self._lock:
            if self._writer is None:
                self._writer = threading.Thread(
                    target=self._write_queued, name="audit", daemon=True
                )
                self._writer.start()
        self._queue.put((kind, who, facts))

    def counts(self) -> dict[int | None, Counter[Kind]]:
        """How often each kind was recorded, by uid, written or not."""
        with self._lock:
            return self._counts.snapshot()

    def _admits(self, kind: Kind, who: Caller | None) -> bool:
        uid = who.uid if who is not None else None
        with self._lock:
            self._counts.add(uid, {kind: 1})
            if self._gate.admits((uid, kind), kind.burst, kind.per_second, self._clock()):
                return True
            self.left_out += 1
            self._plan_summary()
            return False

    def _write_queued(self) -> None:
        while (line := self._queue.get()) is not None:
            kind, who, facts = line
            self._write(kind, {**_identity(who), **facts})

    def front_event(self, event: dict[str, Any]) -> None:
        """Record what a front process tells, see front_events.py."""
        kind = kinds.FRONT.get(event.get("kind", ""))
        if kind is None:
            return
        facts = {name: value for name, value in event.items() if name not in _WHO}
        uid = event.get("uid")
        who = None
        if uid is not None:
            address = event.get("address") or ""
            who = Caller(
                uid,
                event.get("gid") or 0,
                event.get("pid") or 0,
                via=Via.TLS if address else Via.LOCAL,
                address=address,
                certificate=event.get("certificate") or "",
            )
        else:
            facts |= {name: event[name] for name in ("address", "certificate") if event.get(name)}
        self.record(kind, who, **facts)

    def reopen(self) -> None:
        """Go on in a new file, after a log rotation."""
        for sink in self._sinks:
            sink.reopen()

    def close(self) -> None:
        """Tell what was left out, and release the sinks."""
        with self._lock:
            timer, self._summary = self._summary, None
            writer = self._writer
        if timer is not None:
            timer.cancel()
        if writer is not None:
            self._queue.put(None)
            writer.join()
        self._tell_left_out()
        for sink in self._sinks:
            sink.close()

    def _write(self, kind: Kind, facts: dict[str, Any]) -> None:
        line = {"time": _now(), "event": kind.name}
        line |= {name: _bounded(value) for name, value in facts.items()}
        lost = sum(not sink.write(kind, line) for sink in self._sinks)
        with self._lock:
            self.written[kind] = self.written.get(kind, 0) + 1
            self.lost += lost

    def _plan_summary(self) -> None:
        if self._summary is None:
            self._summary = threading.Timer(self._summary_after, self._tell_left_out)
            self._summary.daemon = True
            self._summary.start()

    def _tell_left_out(self) -> None:
        with self._lock:
            self._summary = None
            left_out = self._gate.left_out()
        for (uid, kind), count in left_out.items():
            facts = {"uid": uid, "user": user_name(uid) if uid is not None else ""}
            self._write(kinds.LEFT_OUT, {**facts, "of": kind.name, "count": count})


# What of a front process's event says who it is about.
_WHO = ("kind", "uid", "gid", "pid", "address", "certificate")


def _identity(who: Caller | None) -> dict[str, Any]:
    if who is None:
        return {"uid": None}
    remote = {"address": who.address, "certificate": who.certificate}
    return {
        "uid": who.uid,
        "gid": who.gid,
        "pid": who.pid,
        "user": who.user or user_name(who.uid),
        "via": who.via.value,
        **{name: value for name, value in remote.items() if value},
    }


def _bounded(value: Any, most: int = _TEXT_MAX) -> Any:
    """A value whose text is short, whatever a client sent."""
    if isinstance(value, str):
        return value if len(value) <= most else f"{value[:most]}..."
    if isinstance(value, Sequence):
        shown = [_bounded(item, _ITEM_MAX) for item in value[:_LIST_MAX]]
        return [*shown, f"and {len(value) - _LIST_MAX} more"] if len(value) > _LIST_MAX else shown
    return value


def _now() -> str:
    now = time.time_ns()
    seconds = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now // 1_000_000_000))
    return f"{seconds}.{now // 1_000_000 % 1000:03d}Z"
