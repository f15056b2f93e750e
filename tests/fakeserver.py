"""A real gRPC server with the contract's calls and canned answers, for tests of the client."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any

import grpc

from ptrace_proto import ptrace_pb2 as pb

Script = Callable[["FakeDaemon", pb.TraceRequest], Iterator[pb.TraceResponse]]
STARTED = pb.TraceResponse(started=pb.Started(session_id="s1"))
STOPPED = pb.TraceResponse(end=pb.End(reason=pb.END_REASON_STOPPED))


class RefusalError(Exception):
    """Ends a call with a status, as the daemon does for bad requests."""

    def __init__(self, code: grpc.StatusCode, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text


def until_stopped(daemon: FakeDaemon, request: pb.TraceRequest) -> Iterator[pb.TraceResponse]:
    """Start, and end when StopSession comes."""
    yield STARTED
    daemon.stop_called.wait()
    yield STOPPED


class FakeDaemon:
    """Serves at a Unix socket (or loopback port) until the `with` block ends."""

    def __init__(self, socket: Path | None = None, *, leave_out: tuple[str, ...] = ()) -> None:
        self.info = pb.ServerInfo(
            version="0.1.0",
            api_minor=0,
            kernel_release="6.1.0",
            machine="x86_64",
            hostname="box",
            features=["tracepoint", "projection", "tasks", "cgroups"],
            limits=pb.Limits(
                sessions=100,
                events_per_session=4096,
                queue_bytes=64 << 20,
                buffer_pages=4096,
                filter_bytes=65536,
            ),
            caller=pb.Caller(known=True, uid=65534, gid=65534, pid=1, user="nobody"),
            online_cpus=[0, 1],
            realtime_offset=1_700_000_000_000_000_000,
        )
        self.names = ["sched:sched_switch", "sched:sched_wakeup"]
        self.schemas: list[pb.EventSchema] = []
        self.sessions: list[pb.SessionInfo] = []
        self.script: Script = until_stopped
        self.refusal: RefusalError | None = None
        # True: calls are not answered before the daemon ends.
        self.silent = False
        # ns by which this daemon's clock is ahead of the client's.
        self.clock_ahead = 0
        # Requests as they came, by call.
        self.seen: dict[str, list[Any]] = {}
        self.stop_called = threading.Event()
        # Set when a Trace call is over, however it ended; sent counts its messages.
        self.trace_over = threading.Event()
        self.sent = 0
        self._leave_out = leave_out
        self._dead = False
        self._server = grpc.server(ThreadPoolExecutor(8))
        self._server.add_generic_rpc_handlers((self._handlers(),))
        target = f"unix:{socket}" if socket is not None else "127.0.0.1:0"
        self.port = self._server.add_insecure_port(target)

    def __enter__(self) -> FakeDaemon:
        self._server.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.die()

    def die(self) -> None:
        """Break all connections off at once."""
        self._dead = True
        stopped = self._server.stop(0)
        self.stop_called.set()
        stopped.wait()

    def _handlers(self) -> Any:
        calls: dict[str, tuple[Any, Any]] = {
            "GetServerInfo": (pb.GetServerInfoRequest, self._get_info),
            "ListEvents": (pb.ListEventsRequest, self._list_events),
            "DescribeEvents": (
                pb.DescribeEventsRequest,
                lambda _: pb.DescribeEventsResponse(schemas=self.schemas),
            ),
            "ListSessions": (
                pb.ListSessionsRequest,
                lambda _: pb.ListSessionsResponse(sessions=self.sessions),
            ),
            "StopSession": (pb.StopSessionRequest, self._stop),
            "KillSession": (pb.KillSessionRequest, lambda _: pb.KillSessionResponse()),
        }
        handlers = {
            name: grpc.unary_unary_rpc_method_handler(
                self._answering(name, answer),
                request_deserializer=request.FromString,
                response_serializer=lambda message: message.SerializeToString(),
            )
            for name, (request, answer) in calls.items()
            if name not in self._leave_out
        }
        handlers["Trace"] = grpc.unary_stream_rpc_method_handler(
            self._trace,
            request_deserializer=pb.TraceRequest.FromString,
            response_serializer=pb.TraceResponse.SerializeToString,
        )
        return grpc.method_handlers_generic_handler("ptrace.v1.Tracing", handlers)

    def _answering(self, name: str, answer: Callable[[Any], Any]) -> Callable[[Any, Any], Any]:
        def call(request: Any, context: Any) -> Any:
            self.seen.setdefault(name, []).append(request)
            if self.silent:
                self.stop_called.wait()
            if self.refusal is not None and name != "GetServerInfo":
                context.abort(self.refusal.code, self.refusal.text)
            return answer(request)

        return call

    def _get_info(self, request: pb.GetServerInfoRequest) -> pb.ServerInfo:
        self.info.monotonic_time = time.monotonic_ns() + self.clock_ahead
        return self.info

    def _list_events(self, request: pb.ListEventsRequest) -> pb.ListEventsResponse:
        return pb.ListEventsResponse(names=self.names)

    def _stop(self, request: pb.StopSessionRequest) -> pb.StopSessionResponse:
        self.stop_called.set()
        return pb.StopSessionResponse()

    def _trace(self, request: pb.TraceRequest, context: Any) -> Iterator[pb.TraceResponse]:
        self.seen.setdefault("Trace", []).append(request)
        context.add_callback(self.trace_over.set)
        if self.refusal is not None:
            context.abort(self.refusal.code, self.refusal.text)
        for response in self.script(self, request):
            if self._dead:
                return
            self.sent += 1
            yield response
