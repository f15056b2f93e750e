"""The events of a session as a Python loop."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from types import TracebackType

from ptrace_client.ends import FAILED, exit_status
from ptrace_client.errors import ClientError
from ptrace_client.event import PerfEvent
from ptrace_client.event_decoder import EventDecoder
from ptrace_client.order import Merger
from ptrace_client.stacks import StackTable
from ptrace_client.stream import Stream
from ptrace_proto import ptrace_pb2 as pb

_REGULAR_ENDS = frozenset({pb.END_REASON_STOPPED, pb.END_REASON_TARGETS_GONE})


class TraceWarning(UserWarning):
    """Something about a trace that the daemon wants its user to know."""


class Tracing:
    """An open session: an iterable of PerfEvents, and a context manager that closes it.

    Leaving the loop closes the session too.
    """

    def __init__(
        self,
        stream: Stream,
        *,
        order: bool = False,
        on_lost: Callable[[pb.Loss], None] | None = None,
    ) -> None:
        """Take over `stream`; see Host.trace() for the rest."""
        self.stream = stream
        # Events lost so far, count; LOSS_STAGE_SKIPPED is an upper bound and not among them.
        self.lost = 0
        # How the session ended; None before it did.
        self.end: pb.End | None = None
        self._order = order
        self._on_lost = on_lost
        self._stacks = StackTable()
        started = stream.started
        self._decoders = {
            schema.id: EventDecoder(schema, started.realtime_offset, stacks=self._stacks)
            for schema in started.schemas
        }

    def __enter__(self) -> Tracing:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __iter__(self) -> Iterator[PerfEvent]:
        with self:
            if self._order:
                yield from self._ordered()
            else:
                for response in self._responses():
                    yield from self._events(response)

    def close(self) -> None:
        """End the session and drop what is still on its way."""
        self.stream.cancel()

    def stop(self) -> None:
        """End the session; the loop still gets what was traced so far, then ends."""
        self.stream.stop()

    def _responses(self) -> Iterator[pb.TraceResponse]:
        while True:
            try:
                response = self.stream.next(None)
            except EOFError:
                return
            if response is not None:
                self._tell(response)
                yield response

    def _tell(self, response: pb.TraceResponse) -> None:
        """Count losses, pass warnings on, and raise ClientError if the session failed."""
        for warning in response.warnings:
            # mypy takes this for the builtin Warning, which the stub shadows further down.
            text: str = warning.text  # type: ignore[attr-defined]
            warnings.warn(text, TraceWarning, stacklevel=2)
        for throttle in response.throttles:
            if throttle.started:
                warnings.warn(f"throttled: {throttle.reason}", TraceWarning, stacklevel=2)
        for loss in response.losses:
            if loss.stage != pb.LOSS_STAGE_SKIPPED:
                self.lost += loss.count
            if self._on_lost is not None:
                self._on_lost(loss)
        if response.HasField("end"):
            self.end = response.end
            if self.end.reason not in _REGULAR_ENDS:
                status = exit_status(self.end) or FAILED
                raise ClientError(f"the daemon ended the trace: {self.end.text}", status)

    def _events(self, response: pb.TraceResponse) -> Iterator[PerfEvent]:
        self._stacks.add(response.stacks)
        for batch in response.batches:
            yield from self._decoders[batch.schema_id].decode(batch)
        self._stacks.forget(response.forget_stacks_below)

    def _ordered(self) -> Iterator[PerfEvent]:
        """Hold events back until a round mark says that nothing older can follow."""
        merger = Merger()
        for response in self._responses():
            merger.add((event["_time"], event, None) for event in self._events(response))
            if response.HasField("mark"):
                for _, event, _ in merger.take(response.mark.time):
                    yield event
        for _, event, _ in merger.take():
            yield event
