"""An open Trace call, read so that a slow consumer slows the sender and nothing piles up here."""

from __future__ import annotations

import queue
import threading
import weakref
from collections.abc import Callable
from types import TracebackType
from typing import Any, Final, TypeAlias

import grpc

from ptrace_client.endpoint import Endpoint
from ptrace_client.errors import ClientError
from ptrace_client.failures import explain_failure, explain_lost_stream
from ptrace_proto import ptrace_pb2 as pb

# Messages that wait between the reader thread and the consumer. Beyond these, gRPC's flow
# control holds the daemon back, which then drops and counts. Three keep the consumer fed;
# sixteen measured no faster.
HANDOVER_MESSAGES: Final = 3


class _Wake:
    """Makes a waiting next() return at once."""


_WAKE: Final = _Wake()

# What goes through the hand-over; None stands for a call that ended without an error.
_Item: TypeAlias = pb.TraceResponse | grpc.RpcError | ClientError | _Wake | None


class Stream:
    """The responses of one Trace call, in order; a context manager that cancels the call.

    Only one thread may call `next`. `wake`, `stop` and `cancel` may be called from any
    thread and from signal handlers.
    """

    started: pb.Started
    clock_offset: int

    def __init__(
        self,
        call: Any,
        endpoint: Endpoint,
        clock_offset: int,
        stop_session: Callable[[str], Any],
    ) -> None:
        """Wait for the daemon's first message and keep it as `started`.

        `call` is gRPC's response iterator, `clock_offset` is in ns, and `stop_session` begins
        a StopSession call and returns its future. Raise ClientError where the daemon refuses.
        """
        self.clock_offset = clock_offset
        self._call = call
        self._endpoint = endpoint
        self._stop_session = stop_session
        self._stopping = False
        self._ended = False
        self._first: pb.TraceResponse | None = None
        self._room = threading.Semaphore(HANDOVER_MESSAGES)
        self._items: queue.SimpleQueue[_Item] = queue.SimpleQueue()
        # Neither may hold the stream itself, so that a forgotten stream ends when collected.
        self._reader = threading.Thread(
            target=_read, args=(call, self._room, self._items), name="ptrace-stream", daemon=True
        )
        self._drop = weakref.finalize(self, _drop, call, self._room)
        self._reader.start()
        try:
            self.started = self._wait_for_start()
        except BaseException:
            self.cancel()
            raise

    def __enter__(self) -> Stream:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.cancel()

    def next(self, timeout: float | None) -> pb.TraceResponse | None:
        """Return the next message, or None when `timeout` seconds passed or `wake` was called.

        The last message is the one with `end`; after it, and after `cancel`, raise EOFError.
        Raise ClientError when the connection is lost before the end.
        """
        if self._first is not None:
            first, self._first = self._first, None
            return first
        if self._ended:
            raise EOFError
        try:
            item = self._items.get(timeout=None if timeout is None else max(timeout, 0.0))
        except queue.Empty:
            return None
        if self._ended:
            raise EOFError
        if isinstance(item, _Wake):
            return None
        if isinstance(item, pb.TraceResponse):
            self._room.release()
            self._ended = item.HasField("end")
            return item
        self.cancel()
        raise item if isinstance(item, ClientError) else explain_lost_stream(item, self._endpoint)

    def wake(self) -> None:
        """Make the `next` that waits, or the one to come, return None; safe in a signal handler."""
        self._items.put(_WAKE)

    def stop(self) -> None:
        """Ask the daemon to end the session: what was traced so far still arrives, then `end`.

        Returns at once.
        """
        if not self._stopping:
            self._stopping = True
            self._stop_session(self.started.session_id).add_done_callback(self._check_stop)

    def cancel(self) -> None:
        """Drop the call and what it holds. Does nothing the second time."""
        self._ended = True
        self._first = None
        self._drop()
        self._reader.join()

    def _check_stop(self, answer: Any) -> None:
        error = answer.exception()
        # NOT_FOUND: the session ended by itself meanwhile, and its end is on the way.
        if error is not None and error.code() is not grpc.StatusCode.NOT_FOUND:
            self._items.put(explain_failure(error, self._endpoint))

    def _wait_for_start(self) -> pb.Started:
        item = self._items.get()
        while isinstance(item, _Wake):
            item = self._items.get()
        if isinstance(item, pb.TraceResponse) and item.HasField("started"):
            self._room.release()
            started = pb.Started()
            started.CopyFrom(item.started)
            self._ended = item.HasField("end")
            # A message may carry more than its schemas: that is the consumer's first.
            item.ClearField("started")
            self._first = item if item.ListFields() else None
            return started
        if isinstance(item, grpc.RpcError):
            raise explain_failure(item, self._endpoint)
        raise ClientError(
            f"wrong version: the daemon at {self._endpoint} began a stream without its schemas"
        )


def _read(call: Any, room: threading.Semaphore, items: queue.SimpleQueue[_Item]) -> None:
    """Move messages from gRPC to the consumer, never more than the hand-over has room for."""
    while True:
        room.acquire()
        try:
            items.put(next(call))
        except StopIteration:
            return items.put(None)
        except grpc.RpcError as error:
            return items.put(error)


def _drop(call: Any, room: threading.Semaphore) -> None:
    call.cancel()
    # The reader may wait for room; it then finds the call cancelled.
    room.release()
