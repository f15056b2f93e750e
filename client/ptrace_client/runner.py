"""The life of a run: the callbacks of a script around the events of a stream."""

from __future__ import annotations

import contextlib
import gc
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from operator import attrgetter
from typing import Protocol

from ptrace_client.dispatch import Dispatcher
from ptrace_client.ends import exit_status, explain_end
from ptrace_client.errors import ClientError
from ptrace_client.interval import Ticker
from ptrace_client.losses import Losses
from ptrace_client.printing import terminal_safe
from ptrace_client.run_signals import RunSignals
from ptrace_client.script import Script, load_script
from ptrace_client.script_errors import EndRun, ScriptErrors
from ptrace_proto import ptrace_pb2 as pb

__all__ = ["EventStream", "RunOptions", "load_script", "run_script"]

_MS = 1_000_000
_S = 1_000_000_000
_text = attrgetter("text")
# Objects that may be new before the collector runs.
_NEW_OBJECTS = 50_000
# Indentation of what __print_stat__ prints, as perf-prof passes it.
_STAT_INDENT = 4


@dataclass(frozen=True)
class RunOptions:
    """How to run a script.

    `interval_ms` is the period of __interval__, `exit_n` the number of events to deliver and
    `duration` the seconds to trace; None for each is without. `order` merges by time even
    where one event alone would not need it. `strict` ends the run at the first exception.
    `all_fields` does without the analysis of what handlers read.
    """

    interval_ms: int | None = None
    exit_n: int | None = None
    order: bool = False
    duration: float | None = None
    strict: bool = False
    quiet: bool = False
    verbose: int = 0
    all_fields: bool = False


class EventStream(Protocol):
    """What a run needs of an open Trace call, see stream.Stream."""

    started: pb.Started
    clock_offset: int

    def next(self, timeout: float | None) -> pb.TraceResponse | None:
        """Return the next message, None after `timeout` seconds; EOFError after the last."""

    def stop(self) -> None:
        """Ask the server to stop."""

    def cancel(self) -> None:
        """Drop the call."""

    def wake(self) -> None:
        """Make next() return None at once."""


def run_script(script: Script, open_stream: Callable[[], EventStream], options: RunOptions) -> int:
    """Run a script to the end of its stream and return the exit status.

    The status is 0, 1 after exceptions in callbacks, that of ends.py where the daemon ended the
    session, what the script gave to sys.exit(), or 128 and the signal's number where a second
    signal, or a closed stdout, ended the run. Raise ClientError where the stream cannot be opened
    or breaks off; `__exit__` runs before that.
    """
    run = _Run(script, options)
    try:
        with run.signals.installed(), _calm_collector():
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


@contextlib.contextmanager
def _calm_collector() -> Iterator[None]:
    """Keep the garbage collector from looking through events that wait too often.

    With Python's own threshold it takes a third of the time of ordered events.
    """
    threshold = gc.get_threshold()
    gc.set_threshold(_NEW_OBJECTS, *threshold[1:])
    try:
        yield
    finally:
        gc.set_threshold(*threshold)


class _Run:
    def __init__(self, script: Script, options: RunOptions) -> None:
        self.signals = RunSignals()
        self._script = script
        self._options = options
        self._errors = ScriptErrors(options.strict)
        self._losses = Losses(options.quiet)
        self._stream: EventStream | None = None
        self._dispatcher: Dispatcher | None = None
        self._ticker: Ticker | None = None
        self._deadline: int | None = None
        self._end: pb.End | None = None

    def run(self, open_stream: Callable[[], EventStream]) -> int:
        script = self._script
        if script.path and not self._options.quiet:
            self._errors.call(print, f"Loaded module: {script.path}")
        if script.init is not None and not self._errors.call(script.init):
            return 1
        self._stream = open_stream()
        self._start(self._stream)
        try:
            self._loop(self._stream)
        except ClientError:
            self._leave()
            raise
        self._leave()
        return exit_status(self._end) or int(self._errors.count > 0)

    def close(self) -> None:
        """Drop the stream and tell what there is to tell after any kind of end."""
        if self._stream is not None:
            self._stream.cancel()
        self._losses.report()
        if self._errors.count:
            print(self._errors.summary(), file=sys.stderr)
        if self._options.verbose and self._dispatcher is not None:
            print(f"ptrace-client: {self._summary()}", file=sys.stderr)

    def _start(self, stream: EventStream) -> None:
        options = self._options
        schemas = list(stream.started.schemas)
        self._dispatcher = Dispatcher(
            self._script.bind(schemas, options.all_fields),
            stream.started,
            self._errors,
            self._losses,
            order=options.order,
            limit=options.exit_n,
            lost=self._script.lost,
            between=self._between,
        )
        for text in dict.fromkeys((*self._script.warnings(schemas), *self._dispatcher.warnings)):
            _warn(text)
        if options.interval_ms is not None and self._script.interval is not None:
            self._ticker = Ticker(options.interval_ms * _MS, self._server_time())
        if options.duration is not None:
            self._deadline = time.monotonic_ns() + round(options.duration * _S)
        self.signals.stream = stream

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
        parts = [f"delivered {self._dispatcher.delivered}", self._losses.summary()]
        if self._dispatcher.waiting:
            parts.append(f"{self._dispatcher.waiting} wait for their order")
        if self._dispatcher.late:
            parts.append(f"{self._dispatcher.late} came too late for order")
        return "; ".join([*parts, self._errors.summary()])


def _warn(text: str) -> None:
    print(f"warning: {terminal_safe(text)}", file=sys.stderr)
