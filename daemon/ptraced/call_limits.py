"""How many calls a user may have under way: each takes a thread, whether it says anything or not.

gRPC waits for a call's request before it asks anybody, and counts all users as one. So every call
is taken as a stream of requests here, which is handed over at once, with who makes it.
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
        make, behavior = _parts(handler)
        if not handler.request_streaming:
            behavior = _of_one_request(behavior)
        if not handler.response_streaming:
            bounded = self._answering(behavior)
        elif handler_call_details.method in self._sessions:
            bounded = self._starting(behavior)
        else:
            bounded = self._streaming(behavior)
        return make(
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

    def _answering(self, behavior: _Behavior) -> _Behavior:
        def answer(requests: Iterator[Any], context: grpc.ServicerContext) -> Any:
            with self._place(context):
                return behavior(requests, context)

        return answer

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


def _parts(handler: Any) -> tuple[Callable[..., Any], _Behavior]:
    """What makes a handler that takes a stream of requests, and what a handler does."""
    if handler.response_streaming:
        behavior = handler.stream_stream if handler.request_streaming else handler.unary_stream
        return grpc.stream_stream_rpc_method_handler, behavior
    behavior = handler.stream_unary if handler.request_streaming else handler.unary_unary
    return grpc.stream_unary_rpc_method_handler, behavior


def _of_one_request(behavior: _Behavior) -> _Behavior:
    def call(requests: Iterator[Any], context: grpc.ServicerContext) -> Any:
        request = next(requests, None)
        if request is None:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "error: the call has no request")
        return behavior(request, context)

    return call
