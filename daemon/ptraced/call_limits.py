"""How many calls a user may have under way: each takes a thread, whether it says anything or not.

gRPC waits for a call's request before it asks anybody, counts all users as one, and forgets about
a response that its client does not take. So every call is taken as two streams here, which are
handed over at once, with who makes it.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import grpc

_Behavior = Callable[[Any, grpc.ServicerContext], Any]


class CallLimits(grpc.ServerInterceptor):  # type: ignore[misc]
    """Refuses calls of a user who has `per_user` under way, or of anyone where all have `total`.

    `uid_of` tells who is behind a peer. Root has no limit. Calls of the methods in `sessions`
    count up to their first response: sessions have a limit of their own.
    """

    def __init__(
        self, uid_of: Callable[[str], int], per_user: int, total: int, sessions: frozenset[str]
    ) -> None:
        self._uid_of = uid_of
        self._per_user = per_user
        self._total = total
        self._sessions = sessions
        self._lock = threading.Lock()
        self._calls: Counter[int] = Counter()

    def intercept_service(
        self, continuation: Callable[[Any], Any], handler_call_details: Any
    ) -> Any:
        """The handler of a call with the limits before it."""
        handler = continuation(handler_call_details)
        if handler is None:
            return None
        behavior = _behavior(handler)
        if not handler.request_streaming:
            behavior = _of_one_request(behavior)
        if not handler.response_streaming:
            behavior = _of_one_response(behavior)
        if handler_call_details.method in self._sessions:
            bounded = self._starting(behavior)
        else:
            bounded = self._streaming(behavior)
        return grpc.stream_stream_rpc_method_handler(
            bounded,
            request_deserializer=handler.request_deserializer,
            response_serializer=handler.response_serializer,
        )

    @contextmanager
    def _place(self, context: grpc.ServicerContext) -> Iterator[None]:
        uid = self._uid_of(context.peer())
        with self._lock:
            reason = self._refusal(uid)
            if not reason:
                self._calls[uid] += 1
        if reason:
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, f"error: {reason}")
        try:
            yield
        finally:
            with self._lock:
                self._calls -= Counter({uid: 1})

    def _refusal(self, uid: int) -> str:
        if uid == 0:
            return ""
        if self._calls[uid] >= self._per_user:
            return f"too many calls of uid {uid} at once (limit {self._per_user})"
        if self._calls.total() >= self._total:
            return f"too many calls of all users together (limit {self._total})"
        return ""

    def _streaming(self, behavior: _Behavior) -> _Behavior:
        def stream(requests: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Any]:
            with self._place(context):
                yield from behavior(requests, context)

        return stream

    def _starting(self, behavior: _Behavior) -> _Behavior:
        def stream(requests: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Any]:
            with self._place(context):
                responses = iter(behavior(requests, context))
                first = next(responses, None)
            if first is not None:
                yield first
                yield from responses

        return stream


def _behavior(handler: Any) -> _Behavior:
    """What a handler does, of whichever kind it is."""
    behaviors: tuple[_Behavior | None, ...] = (
        handler.unary_unary,
        handler.unary_stream,
        handler.stream_unary,
        handler.stream_stream,
    )
    return next(behavior for behavior in behaviors if behavior is not None)


def _of_one_request(behavior: _Behavior) -> _Behavior:
    def call(requests: Iterator[Any], context: grpc.ServicerContext) -> Any:
        request = next(requests, None)
        if request is None:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "error: the call has no request")
        return behavior(request, context)

    return call


def _of_one_response(behavior: _Behavior) -> _Behavior:
    """A stream of one response: it goes on when the client has taken that, which may never be."""

    def stream(requests: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        yield behavior(requests, context)

    return stream
