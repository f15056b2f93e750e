"""The daemon's side of finding symbols: stacks go to a process of their own, and come back.

Nobody but two threads here ever waits for that process. Where it dies, hangs, or does not
keep up, stacks are answered with addresses only.
"""

from __future__ import annotations

import logging
import os
import select
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable
from time import monotonic

from ptraced import log
from ptraced.symbols.messages import (
    ANYBODY,
    NUMBER,
    STACK_HEAD,
    Kind,
    Splitter,
    addresses_only,
    packed,
)
from ptraced.symbols.waiting import Waiting
from ptraced.task_records import LOST_RECORD

_log = logging.getLogger(__name__)
# What may wait for the process.
_STACKS_MAX = 20_000
_BYTES_MAX = 64 << 20
# Bytes that are sent at once, and read at once.
_SEND_BYTES = 256 << 10
_READ_BYTES = 1 << 20
# Seconds without an answer, while one is due, after which the process is ended, and how often
# that is looked at.
_PATIENCE = 20.0
_LOOK_EVERY = 1.0
# The process is not started when it was started so often in so many seconds.
_STARTS_MAX, _STARTS_WITHIN = 4, 60.0

Resolved = list[tuple[int, bytes]]


class Symbolizer:
    """Finds the symbols of stacks, in order.

    `on_resolved` is called from a thread of this object with stack ids and serialized
    pb.Stack messages, once for each stack, or on_given_up is with those that have addresses
    only. `on_python_without_map` is called with a process id and the path of its interpreter,
    once for a process whose Python functions nobody tells.
    """

    def __init__(
        self,
        on_resolved: Callable[[Resolved], None],
        on_python_without_map: Callable[[int, str], None] = lambda pid, path: None,
        on_given_up: Callable[[Resolved], None] | None = None,
    ) -> None:
        self._on_resolved = on_resolved
        self._on_given_up = on_given_up or on_resolved
        self._on_python = on_python_without_map
        self._changed = threading.Condition()
        self._writing = threading.Lock()
        # Messages that wait, and those sent that are not answered yet, by stack ids.
        self._queue = Waiting(_STACKS_MAX)
        self._pending: dict[int, bytes] = {}
        self._records_dropped = False
        # Messages of stacks that are to be answered with addresses only.
        self._given_up: list[bytes] = []
        self._process: subprocess.Popen[bytes] | None = None
        self._starts: deque[float] = deque(maxlen=_STARTS_MAX)
        self._last_answer = 0.0
        self._closing = self._sending = False
        self._threads: list[threading.Thread] = []
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        # Stacks that came while too many waited.
        self.overflowed = 0

    @property
    def pid(self) -> int | None:
        """The process, while there is one."""
        process = self._process
        return process.pid if process else None

    def task_records(self, cpu: int, records: bytes) -> None:
        """Take notice of records of a task_attr() ring, which are in order within a CPU.

        Those that tell what a stack belongs to go before it; best all rings are read after
        the stacks, and handed over before them.
        """
        with self._changed:
            if self._closing:
                return
            if self._queue.bytes > _BYTES_MAX:
                self._records_dropped = True
                return
            if self._records_dropped:
                self._records_dropped = False
                records = LOST_RECORD + records
            self._queue.put_records(packed(Kind.RECORDS, records))
            self._begin_sending()

    def stack(
        self,
        stack_id: int,
        tgid: int,
        time: int,
        kernel: bytes,
        user: bytes,
        uid: int = 0,
        owner: int | None = None,
    ) -> None:
        """Find the symbols of a stack of process `tgid` at `time` (CLOCK_MONOTONIC, ns).

        Users take turns; this is for `uid`. With an `owner` nothing is told of what that user
        could not look at itself. The addresses are u64 in native order, leaf first;
        `stack_id` is not 0, and of no other stack that is still to be answered.
        """
        whose = ANYBODY if owner is None else owner
        head = STACK_HEAD.pack(stack_id, tgid, time, len(kernel), whose)
        message = packed(Kind.STACK, head, kernel, user)
        with self._changed:
            if self._closing:
                return
            dropped = [message]
            if self._queue.bytes <= _BYTES_MAX:
                if not self._pending and not self._queue.stacks:
                    self._last_answer = monotonic()
                dropped = self._queue.put_stack(uid, stack_id, message)
                self._begin_sending()
            if dropped:
                self.overflowed += 1
                self._give_up(dropped)

    def close(self) -> None:
        """End the process; what waits is answered with addresses only."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
            if self._process is not None:
                self._process.kill()
            os.eventfd_write(self._wake, 1)
        for thread in self._threads:
            thread.join()
        os.close(self._wake)

    def _begin_sending(self) -> None:
        if not self._threads:
            self._sending = True
            for run in (self._send_all, self._receive_all):
                thread = threading.Thread(target=run, name="symbolizer", daemon=True)
                thread.start()
                self._threads.append(thread)
        self._changed.notify_all()

    def _give_up(self, messages: list[bytes]) -> None:
        self._given_up += messages
        os.eventfd_write(self._wake, 1)

    # The sending thread.

    def _send_all(self) -> None:
        while True:
            with self._changed:
                while not self._queue and not self._closing:
                    self._changed.wait()
                if self._closing:
                    self._sending = False
                    self._give_up(self._queue.clear())
                    return
                process = self._process or self._start()
                batch = self._next_batch() if process else b""
            if process is not None:
                self._send(process, batch)

    def _next_batch(self) -> bytes:
        batch = self._queue.take(_SEND_BYTES)
        asked = {stack_id: message for stack_id, message in batch if stack_id}
        if asked and not self._pending:
            self._last_answer = monotonic()
        self._pending.update(asked)
        return b"".join(message for _, message in batch)

    def _start(self) -> subprocess.Popen[bytes] | None:
        """Start the process, unless it keeps dying: then what waits is answered."""
        now = monotonic()
        if len(self._starts) < _STARTS_MAX or now - self._starts[0] > _STARTS_WITHIN:
            self._starts.append(now)
            try:
                self._process = subprocess.Popen(
                    # -P: nothing is imported from the folder that the daemon runs in.
                    [sys.executable, "-P", "-m", "ptraced.symbols.worker"],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    # One thread will do for the little that NumPy does there.
                    env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
                    # A session of its own: Ctrl-C is for the daemon.
                    start_new_session=True,
                )
            except OSError as error:
                log.event("no process for symbols", logging.ERROR, error=error)
            else:
                os.eventfd_write(self._wake, 1)
                return self._process
        self._give_up(self._queue.clear())
        return None

    def _send(self, process: subprocess.Popen[bytes], batch: bytes) -> None:
        assert process.stdin is not None
        data = memoryview(batch)
        try:
            # Nobody closes the pipe meanwhile: its number could be another file's by then.
            with self._writing:
                while data and not process.stdin.closed:
                    data = data[os.write(process.stdin.fileno(), data) :]
                    self._last_answer = monotonic()
        except OSError:
            # The other thread sees its end, and answers what it was asked.
            process.kill()
            with self._changed:
                self._changed.wait_for(lambda: self._process is not process)

    # The receiving thread.

    def _receive_all(self) -> None:
        splitter, read_from = Splitter(), self._process
        while True:
            self._deliver_given_up()
            with self._changed:
                process = self._process
                if self._closing and not (process or self._sending or self._given_up):
                    return
            if process is not read_from:
                splitter, read_from = Splitter(), process
            # Not select(): a daemon has descriptors beyond what that can take.
            poll = select.poll()
            poll.register(self._wake, select.POLLIN)
            output = process.stdout.fileno() if process and process.stdout else -1
            if process:
                poll.register(output, select.POLLIN)
            ready = [fd for fd, _ in poll.poll(_LOOK_EVERY * 1000 if process else None)]
            if self._wake in ready:
                os.eventfd_read(self._wake)
            if process and output in ready:
                self._receive(process, output, splitter)
            elif process:
                self._end_if_stuck(process)

    def _receive(self, process: subprocess.Popen[bytes], output: int, splitter: Splitter) -> None:
        piece = os.read(output, _READ_BYTES)
        if not piece:
            self._ended(process)
            return
        resolved: Resolved = []
        given_up: set[int] = set()
        for kind, body in splitter.feed(piece):
            if kind in (Kind.RESOLVED, Kind.GIVEN_UP):
                (stack_id,) = NUMBER.unpack_from(body)
                resolved.append((stack_id, bytes(body[NUMBER.size :])))
                if kind == Kind.GIVEN_UP:
                    given_up.add(stack_id)
            elif kind == Kind.WITHOUT_MAP:
                (pid,) = NUMBER.unpack_from(body)
                self._call(self._on_python, pid, os.fsdecode(bytes(body[NUMBER.size :])))
            elif kind == Kind.COMPLAINT:
                log.event(bytes(body).decode(errors="replace"), logging.WARNING)
        with self._changed:
            self._last_answer = monotonic()
            resolved = [one for one in resolved if self._pending.pop(one[0], None) is not None]
        known = [one for one in resolved if one[0] not in given_up]
        unknown = [one for one in resolved if one[0] in given_up]
        if known:
            self._call(self._on_resolved, known)
        if unknown:
            self._call(self._on_given_up, unknown)

    def _deliver_given_up(self) -> None:
        with self._changed:
            messages, self._given_up = self._given_up, []
        if messages:
            self._call(self._on_given_up, [addresses_only(message) for message in messages])

    def _end_if_stuck(self, process: subprocess.Popen[bytes]) -> None:
        with self._changed:
            # Also one that takes no more: then stacks wait here.
            waiting = self._pending or self._queue.stacks
            stuck = waiting and monotonic() - self._last_answer > _PATIENCE
        if stuck:
            log.event("the process for symbols hangs and is ended", logging.ERROR)
            process.kill()

    def _ended(self, process: subprocess.Popen[bytes]) -> None:
        """Answer what a process was asked that is no more."""
        with self._changed:
            if process is not self._process:
                return
            self._process = None
            pending, self._pending = self._pending, {}
            self._give_up(list(pending.values()))
            self._changed.notify_all()
            closing = self._closing
        process.kill()
        status = process.wait()
        assert process.stdin is not None
        assert process.stdout is not None
        with self._writing:
            process.stdin.close()
        process.stdout.close()
        if not closing:
            what = {"status": status, "unresolved": len(pending)}
            log.event("the process for symbols ended", logging.ERROR, **what)

    def _call(self, taker: Callable[..., None], *arguments: object) -> None:
        try:
            taker(*arguments)
        except Exception:
            # A bug of ours there must not stop everybody's symbols.
            _log.exception("symbols cannot be handed over")
