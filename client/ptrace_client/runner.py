"""The life of a run: the callbacks of a script around the events of a stream."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING, Protocol

from ptrace_client.collector import calm_collector
from ptrace_client.dispatch import Dispatcher
from ptrace_client.ends import LostConnection, exit_status, explain_end
from ptrace_client.errors import ClientError
from ptrace_client.interval import Ticker
from ptrace_client.losses import Losses
from ptrace_client.printing import terminal_safe
from ptrace_client.run_signals import RunSignals
from ptrace_client.script import load_script
from ptrace_client.script_errors import EndRun
from ptrace_client.targets import RunScript
from ptrace_proto import ptrace_pb2 as pb

if TYPE_CHECKING:
    from ptrace_client.reconnect import Reconnector
    from ptrace_client.traced_command import TracedCommand

__all__ = ["EventStream", "RunOptions", "load_script", "run_script"]

_MS = 1_000_000
_S = 1_000_000_000
_text = attrgetter("text")
# Indentation of what __print_stat__ prints, as perf-prof passes it.
_STAT_INDENT = 4


@dataclass(frozen=True)
class RunOptions:
    """How to run a script.

    `interval_ms` is the period of __interval__, `exit_n` the number of events to deliver and
    `duration` the seconds to trace; None for each is without. `order` merges by time even
    where one event alone would not need it. `strict` ends the run at the first exception.
    `all_fields` does without the analysis of what handlers read. `command` is let go when tracing
    has begun, which ends with it.
    """

    interval_ms: int | None = None
    exit_n: int | None = None
    order: bool = False
    duration: float | None = None
    strict: bool = False
    quiet: bool = False
    verbose: int = 0
    all_fields: bool = False
    command: TracedCommand | None = None


class EventStream(Protocol):
    """What a run needs of an open Trace call, see stream.Stream."""

    started: pb.Started

    @property
    def clock_offset(self) -> int:
        """The clock of the events, less time.monotonic_ns(), ns."""

    def next(self, timeout: float | None) -> pb.TraceResponse | None:
        """Return the next message, None after `timeout` seconds; EOFError after the last."""

    def stop(self) -> None:
        """Ask the server to stop."""

    def cancel(self) -> None:
        """Drop the call."""

    def wake(self) -> None:
        """Make next() return None at once."""


def run_script(
    script: RunScript,
    open_stream: Callable[[], EventStream],
    options: RunOptions,
    reconnector: Reconnector | None = None,
) -> int:
    """Run a script to the end of its stream and return the exit status.

    The status is 0, 1 after exceptions in callbacks, that of ends.py where the daemon ended the
    session, what the script gave to sys.exit(), or 128 and the signal's number where a second
    signal, or a closed stdout, ended the run. Where the stream breaks off, or the daemon ends,
    `reconnector` opens others that go on for it. Raise ClientError where the stream cannot be
    opened or breaks off for good; `__exit__` runs before that.
    """
    run = _Run(script, options, reconnector)
    try:
        with run.signals.installed(), calm_collector():
            return run.run(open_stream)
    except EndRun as end:
        status = end.status
    except SystemExit as end:
        status = _exit_status(end.code)
    finally:
        run.close()
    return status


def _exit_status(code: object) -> int:
    """Return what Python itself would make of sys.exit(code)."""
    if code is None:
        return 0
    if isinstance(code, int):
        return code
    print(code, file=sys.stderr)
    return 1


class _Run:
    def __init__(
        self, script: RunScript, options: RunOptions, reconnector: Reconnector | None
    ) -> None:
        self._reconnector = reconnector
        # All before this time has been delivered; CLOCK_MONOTONIC of the host, ns.
        self._reached = 0
        # Events that the streams before this one delivered.
        self._delivered_before = 0
        self.signals = RunSignals()
        self._script = script
        self._options = options
        self._errors = script.errors(options.strict)
        self._losses = Losses(options.quiet)
        self._stream: EventStream | None = None
        self._dispatcher: Dispatcher | None = None
        self._ticker: Ticker | None = None
        self._deadline: int | None = None
        # The server was asked to stop, as the time is over, or the command.
        self._stopped = False
        self._end: pb.End | None = None

    def run(self, open_stream: Callable[[], EventStream]) -> int:
        script = self._script
        if script.announced and not self._options.quiet:
            self._errors.call(print, f"Loaded module: {script.path}")
        if script.init is not None and not self._errors.call(script.init):
            return 1
        self._stream = open_stream()
        self._start(self._stream)
        try:
            self._follow()
        except ClientError:
            self._leave()
            raise
        self._leave()
        return exit_status(self._end) or int(self._errors.count > 0)

    def close(self) -> None:
        """Drop the stream and tell what there is to tell after any kind of end."""
        if self._stream is not None:
            self._stream.cancel()
        if self._reconnector is not None:
            self._reconnector.close()
        self._losses.report()
        if self._errors.count:
            print(self._errors.summary(), file=sys.stderr)
        if self._options.verbose and self._dispatcher is not None:
            print(f"ptrace-client: {self._summary()}", file=sys.stderr)

    def _start(self, stream: EventStream) -> None:
        options = self._options
        schemas = self._bind(stream)
        assert self._dispatcher is not None
        for text in dict.fromkeys((*self._script.warnings(schemas), *self._dispatcher.warnings)):
            _warn(text)
        if options.interval_ms is not None and self._script.interval is not None:
            self._ticker = Ticker(options.interval_ms * _MS, self._server_time())
        if options.duration is not None:
            self._deadline = time.monotonic_ns() + round(options.duration * _S)
        self.signals.stream = stream
        if options.command is not None:
            options.command.start(self._command_ended)

    def _command_ended(self) -> None:
        """Have the server stop; another thread says so."""
        self._stopped = True
        assert self._stream is not None
        self._stream.stop()

    def _bind(self, stream: EventStream) -> list[pb.EventSchema]:
        """Have the handlers take the events of a stream: what its numbers mean is its own."""
        options = self._options
        schemas = list(stream.started.schemas)
        left = None if options.exit_n is None else options.exit_n - self._delivered_before
        self._dispatcher = Dispatcher(
            self._script.bind(schemas, options.all_fields),
            stream.started,
            self._errors,
            self._losses,
            order=options.order or self._script.orders_always,
            limit=left,
            lost=self._script.lost,
            between=self._between,
        )
        self._reached = max(self._reached, stream.started.start_time)
        return schemas

    def _follow(self) -> None:
        """Deliver the stream, and those that take its place. Raise ClientError at the last end."""
        while True:
            broken: LostConnection | None = None
            assert self._stream is not None
            try:
                self._loop(self._stream)
            except LostConnection as error:
                broken = error
            if not self._may_go_on(broken):
                if broken is not None:
                    raise broken
                return
            if not self._go_on(broken):
                if broken is not None:
                    raise broken
                return

    def _may_go_on(self, broken: LostConnection | None) -> bool:
        """Whether another stream is wanted."""
        assert self._dispatcher is not None
        if self._reconnector is None or self.signals.stopping or self._stopped:
            return False
        restarting = self._end is not None and self._end.reason == pb.END_REASON_SHUTDOWN
        return not self._dispatcher.done and (broken is not None or restarting)

    def _go_on(self, broken: LostConnection | None) -> bool:
        """Go on with another stream; False where there was none in time."""
        assert self._reconnector is not None
        assert self._stream is not None
        assert self._dispatcher is not None
        # What waits for its order gets no further mark.
        self._dispatcher.finish()
        self._losses.report()
        self._stream.cancel()
        self.signals.stream = self._reconnector
        self._tell(f"{broken or 'the daemon ended'}".partition(": events after")[0])
        found = self._reconnector.again(self._reached, self._deadline)
        if found is None:
            return False
        self._stream, missed = found
        self._delivered_before += self._dispatcher.delivered
        self._end = None
        self.signals.stream = self._stream
        if self.signals.stopping or self._stopped:
            # It came in between.
            self._stream.stop()
        if missed.rebooted:
            self._reached = 0
            if self._ticker is not None:
                interval = self._options.interval_ms or 1
                self._ticker = Ticker(interval * _MS, self._server_time())
        self._bind(self._stream)
        self._tell(f"connected again: {missed}")
        if self._script.reconnected is not None:
            self._errors.call(self._script.reconnected, missed.start, missed.end)
        return True

    @staticmethod
    def _tell(text: str) -> None:
        print(f"ptrace-client: {terminal_safe(text)}", file=sys.stderr, flush=True)

    def _loop(self, stream: EventStream) -> None:
        dispatcher = self._dispatcher
        assert dispatcher is not None
        while not dispatcher.done:
            try:
                message = stream.next(self._patience())
            except EOFError:
                break
            self._between()
            if message is None:
                if self._ticker is not None and self._ticker.idle(self._server_time()):
                    self._tick()
                continue
            for text in map(_text, message.warnings):
                _warn(text)
            for throttle in message.throttles:
                self._losses.throttle(throttle)
                if self._script.throttled is not None:
                    self._errors.call(self._script.throttled, throttle.started, throttle.time)
            dispatcher.message(message)
            if message.HasField("end"):
                self._end = message.end
            if message.HasField("mark") and not dispatcher.done:
                self._marked(message.mark.time)

    def _leave(self) -> None:
        """Deliver what is left, say why it ended, and call `__exit__`."""
        assert self._dispatcher is not None
        self._dispatcher.finish()
        # From here on a signal does not wait for anything.
        self.signals.stream = None
        self._losses.report()
        if self._end is not None:
            text = explain_end(self._end)
            if text:
                _warn(text)
        if self._script.exit is not None:
            self._errors.call(self._script.exit)
        self._errors.call(sys.stdout.flush)

    def _patience(self) -> float | None:
        """Return how long to wait for a message, seconds."""
        waits = []
        if self._ticker is not None:
            waits.append(self._ticker.wait(self._server_time()))
        if self._deadline is not None:
            waits.append(max(self._deadline - time.monotonic_ns(), 0))
        return min(waits) / _S if waits else None

    def _server_time(self) -> int:
        assert self._stream is not None
        return time.monotonic_ns() + self._stream.clock_offset

    def _marked(self, mark: int) -> None:
        self._reached = max(self._reached, mark)
        if self._ticker is not None and self._ticker.marked(mark):
            self._tick()

    def _tick(self) -> None:
        assert self._script.interval is not None
        self._errors.call(self._script.interval)

    def _between(self) -> None:
        """Do what time and signals ask for, between events."""
        if self.signals.dump_wanted:
            self.signals.dump_wanted = False
            self._dump()
        if self._deadline is not None and time.monotonic_ns() >= self._deadline:
            self._deadline = None
            self._stopped = True
            assert self._stream is not None
            self._stream.stop()

    def _dump(self) -> None:
        """Print the state of the run, the script's own inside."""
        assert self._stream is not None
        started = self._stream.started
        print(f"ptrace-client: session {started.session_id}", file=sys.stderr)
        print(f"  {self._summary()}", file=sys.stderr)
        print(f"  script {self._script.path}:", file=sys.stderr, flush=True)
        if self._script.print_stat is not None:
            self._errors.call(self._script.print_stat, _STAT_INDENT)

    def _summary(self) -> str:
        assert self._dispatcher is not None
        delivered = self._delivered_before + self._dispatcher.delivered
        parts = [f"delivered {delivered}", self._losses.summary()]
        if self._dispatcher.waiting:
            parts.append(f"{self._dispatcher.waiting} wait for their order")
        if self._dispatcher.late:
            parts.append(f"{self._dispatcher.late} came too late for order")
        return "; ".join([*parts, self._errors.summary()])


def _warn(text: str) -> None:
    print(f"warning: {terminal_safe(text)}", file=sys.stderr)
