"""The connection to a daemon: its calls, and the events of its host as a Python loop."""

from __future__ import annotations

import os
import re
import sys
import time
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, TypeVar

import grpc
from google.protobuf.message import Message
from grpc.experimental import ChannelOptions

from ptrace_client.endpoint import Endpoint, find_endpoint
from ptrace_client.errors import ClientError
from ptrace_client.failures import explain_failure
from ptrace_client.stream import Stream
from ptrace_client.tls import TlsFiles, find_tls
from ptrace_proto import ptrace_pb2 as pb

if TYPE_CHECKING:
    from ptrace_client.tracing import Tracing

__all__ = ["Host", "Stream", "connect"]

# Seconds for calls over which the daemon has to read many files.
_WORK_TIMEOUT: Final = 60.0

_CHANNEL_OPTIONS: Final = [
    ("grpc.max_receive_message_length", 16 << 20),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 200),
    # A proxy of the environment knows nothing of this machine's sockets.
    ("grpc.enable_http_proxy", 0),
    # The reader thread of a stream then waits in gRPC itself, without a second thread that
    # hands it every message: 25 to 40 % less CPU per byte, more with small messages.
    (ChannelOptions.SingleThreadedUnaryStream, 1),
]

# A daemon elsewhere that is silent for so long is asked whether it is there, and gets as long to
# answer.
_KEEPALIVE_MS = 20_000

# What a request may use that a daemon of an older minor version lacks: feature, and its name
# for the user.
_OPTIONAL_FEATURES: Final = {
    "tasks": "selection by process or thread",
    "cgroups": "selection by cgroup",
    "self_describing": "self-describing samples",
    "stacks": "stacks",
    "probes": "probes of functions",
    "sampling": "sampled events",
    "format_texts": "what a recording needs of events",
    "task_records": "records of tasks",
}
_PROBES: Final = ("kprobe:", "kretprobe:", "uprobe:", "uretprobe:", "usdt:")
_SAMPLED: Final = re.compile(r"[^:/,]+(?:[/,]|$)")

_Response = TypeVar("_Response", bound=Message)


def connect(
    address: str | None = None,
    *,
    socket: str | os.PathLike[str] | None = None,
    tls: TlsFiles | str | os.PathLike[str] | None = None,
    timeout: float = 5.0,
) -> Host:
    """Connect to a daemon and learn about it.

    `address` is "host:port", `socket` the path of a Unix socket. Without either, the environment's
    PTRACED_HOST or PTRACED_SOCKET counts, then /run/ptraced/ptraced.sock. An address elsewhere is
    reached by TLS with the files ca.crt, user.crt and user.key in the folder `tls`, else in
    PTRACED_TLS, else in ~/.config/ptraced; one on this machine too where either of the first two
    is given. `timeout` is in seconds, for each short call.

        >>> with ptrace_client.connect() as host:
        ...     print(host.info.kernel_release)
        6.18.5

    Raise ClientError, which says what to do, where there is no daemon or it may not be used.
    """
    files = tls if tls is None or isinstance(tls, TlsFiles) else find_tls(tls)
    return Host(find_endpoint(address, socket, tls=files), timeout)


class Host:
    """A host whose daemon answers; a context manager that closes the connection."""

    def __init__(self, endpoint: Endpoint, timeout: float = 5.0) -> None:
        """Connect to `endpoint`; `timeout` is in seconds. Raise ClientError, see connect()."""
        self.endpoint = endpoint
        self._timeout = timeout
        self._channel = _open_channel(endpoint)
        self._streams: weakref.WeakSet[Stream] = weakref.WeakSet()
        try:
            self.info: pb.ServerInfo = self._get_info()
            self._clock_offset = self._measure_clock()
        except BaseException:
            self._channel.close()
            raise

    def __enter__(self) -> Host:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Drop all open streams and the connection."""
        for stream in list(self._streams):
            stream.cancel()
        self._channel.close()

    def list_events(self, *globs: str) -> list[str]:
        """Return the sorted names "system:name" that match any of `globs`; all without one."""
        request = pb.ListEventsRequest(globs=globs)
        return list(self._call("ListEvents", request, pb.ListEventsResponse, _WORK_TIMEOUT).names)

    def describe(
        self,
        selectors: Sequence[str],
        *,
        stacks: pb.Stacks | None = None,
        pids: Iterable[int] = (),
        tids: Iterable[int] = (),
    ) -> list[pb.EventSchema]:
        """Return a schema with all fields for every event that `selectors` select.

        `stacks` adds columns for those. Files of probes are those that the first of `pids` and
        `tids` sees. Raise ClientError where a selector, its filter or an attribute is wrong.
        """
        request = pb.DescribeEventsRequest(
            selectors=selectors, stacks=stacks, scope=pb.Scope(pids=pids, tids=tids)
        )
        self._require(_selected_features(selectors) | _stack_features(request.stacks))
        response = self._call("DescribeEvents", request, pb.DescribeEventsResponse, _WORK_TIMEOUT)
        # Daemons before the feature took the attribute and gave no stacks.
        self._require({"stacks": any(schema.stack for schema in response.schemas)})
        return list(response.schemas)

    def whoami(self) -> pb.WhoAmIResponse:
        """Return who the caller is to the daemon, and what its policy allows.

        Raise ClientError where the daemon is too old to have a policy.
        """
        return self._call("WhoAmI", pb.WhoAmIRequest(), pb.WhoAmIResponse)

    def sessions(self) -> list[pb.SessionInfo]:
        """Return the sessions that the caller may see."""
        request = pb.ListSessionsRequest()
        return list(self._call("ListSessions", request, pb.ListSessionsResponse).sessions)

    def stop(self, session_id: str) -> None:
        """Stop a session: what it traced so far is delivered to its client, then it ends."""
        request = pb.StopSessionRequest(session_id=session_id)
        self._call("StopSession", request, pb.StopSessionResponse)

    def kill(self, session_id: str) -> None:
        """End a session at once, own or (for administrators) another's.

        What waits for its client is dropped and counted as lost.
        """
        request = pb.KillSessionRequest(session_id=session_id)
        self._call("KillSession", request, pb.KillSessionResponse)

    def open(self, request: pb.TraceRequest) -> Stream:
        """Start a session and return its stream once all its events are attached.

        Raise ClientError where the daemon refuses or lacks a feature that `request` uses.
        """
        self._require(
            {
                "tasks": bool(request.scope.pids or request.scope.tids),
                "cgroups": bool(request.scope.cgroups),
                "self_describing": request.self_describing,
                "format_texts": request.format_texts,
                "task_records": request.task_records,
                **_selected_features(request.selectors),
                **_stack_features(request.stacks),
            }
        )
        call = self._channel.unary_stream(
            _path("Trace"),
            request_serializer=pb.TraceRequest.SerializeToString,
            response_deserializer=pb.TraceResponse.FromString,
        )(request)
        stream = Stream(call, self.endpoint, self._clock_offset, self._begin_stop)
        self._streams.add(stream)
        return stream

    def trace(
        self,
        *selectors: str,
        fields: Iterable[str] | None = None,
        cpus: str = "",
        pids: Iterable[int] = (),
        tids: Iterable[int] = (),
        cgroups: Iterable[str] = (),
        buffer_pages: int = 0,
        watermark: int | None = None,
        stacks: bool | str = False,
        max_stack: int = 0,
        order: bool = False,
        on_lost: Callable[[pb.Loss], None] | None = None,
        label: str | None = None,
    ) -> Tracing:
        """Start a session and return its events, to iterate over.

        `selectors` are in the grammar of the command line's -e. `fields` restricts the events
        to these of their fields, which makes them cheaper. `stacks` asks for the call chains of
        all events: "kernel", "user", or True for both, of `max_stack` frames each at most (0: as
        many as the kernel gives). `order` sorts the events of all CPUs
        by time; otherwise the order holds per CPU. `on_lost` is called for every loss. `label`
        names the session in lists, by default as the program. The rest is as trace_request()
        explains it.

            >>> for event in host.trace("sched:sched_switch/prev_prio<100/", pids=[4711]):
            ...     print(event.next_comm, event._time)

        Raise ClientError where a selector is wrong or the daemon refuses.
        """
        # The decoding is only imported by those who use it.
        from ptrace_client.request import project, stack_request, trace_request
        from ptrace_client.tracing import Tracing

        chains = stack_request(stacks, max_stack)
        pids, tids = tuple(pids), tuple(tids)
        projections: Sequence[pb.Projection] = ()
        if fields is not None:
            described = self.describe(selectors, stacks=chains, pids=pids, tids=tids)
            projections = project(described, fields)
        request = trace_request(
            selectors,
            projections=projections,
            stacks=chains,
            cpus=cpus,
            pids=pids,
            tids=tids,
            cgroups=cgroups,
            buffer_pages=buffer_pages,
            watermark=watermark,
            label=os.path.basename(sys.argv[0]) if label is None else label,
        )
        return Tracing(self.open(request), order=order, on_lost=on_lost)

    def _require(self, features: Mapping[str, bool]) -> None:
        """Raise ClientError where the daemon lacks one of the features that are used."""
        for feature, what in _OPTIONAL_FEATURES.items():
            if features.get(feature) and feature not in self.info.features:
                raise ClientError(
                    f"the daemon at {self.endpoint} (ptraced {self.info.version}) is not able to "
                    f"give {what}: its feature {feature!r} is missing; install a newer ptraced"
                )

    def _get_info(self) -> pb.ServerInfo:
        request = pb.GetServerInfoRequest()
        # Something listens at a socket that was tried: where gRPC cannot connect, the backlog is
        # full for now.
        wait = self.endpoint.socket is not None
        return self._call("GetServerInfo", request, pb.ServerInfo, wait_for_ready=wait)

    def _measure_clock(self) -> int:
        """Return the ns to add to the local CLOCK_MONOTONIC to get the server's."""
        if self.endpoint.socket is not None:
            return 0
        before = time.monotonic_ns()
        there = self._get_info().monotonic_time
        return there - (before + time.monotonic_ns()) // 2

    def _begin_stop(self, session_id: str) -> Any:
        method = self._method("StopSession", pb.StopSessionRequest, pb.StopSessionResponse)
        return method.future(pb.StopSessionRequest(session_id=session_id), timeout=self._timeout)

    def _call(
        self,
        name: str,
        request: Message,
        answer: type[_Response],
        timeout: float | None = None,
        wait_for_ready: bool = False,
    ) -> _Response:
        method = self._method(name, type(request), answer)
        try:
            response: _Response = method(
                request, timeout=timeout or self._timeout, wait_for_ready=wait_for_ready
            )
        except grpc.RpcError as error:
            raise explain_failure(error, self.endpoint) from None
        return response

    def _method(self, name: str, request: type[Message], answer: type[Message]) -> Any:
        return self._channel.unary_unary(
            _path(name),
            request_serializer=request.SerializeToString,
            response_deserializer=answer.FromString,
        )


def _options(endpoint: Endpoint) -> list[tuple[str, int]]:
    """Options of a channel: a link over a network may break without a word."""
    if endpoint.socket is not None:
        return _CHANNEL_OPTIONS
    return [
        *_CHANNEL_OPTIONS,
        ("grpc.keepalive_time_ms", _KEEPALIVE_MS),
        ("grpc.keepalive_timeout_ms", _KEEPALIVE_MS),
        ("grpc.http2.ping_timeout_ms", _KEEPALIVE_MS),
        # However long there are no events.
        ("grpc.http2.max_pings_without_data", 0),
    ]


def _open_channel(endpoint: Endpoint) -> grpc.Channel:
    """Raise ClientError where there is nothing to connect to."""
    if endpoint.tls is None:
        endpoint.check()
        return grpc.insecure_channel(endpoint.target, options=_options(endpoint))
    ca, certificate, key = endpoint.tls.read()
    credentials = grpc.ssl_channel_credentials(ca, key, certificate)
    return grpc.secure_channel(endpoint.target, credentials, options=_options(endpoint))


def _selected_features(selectors: Iterable[str]) -> dict[str, bool]:
    """Return the features that these selectors are seen to use, by how they begin."""
    return {
        "probes": any(selector.startswith(_PROBES) for selector in selectors),
        "sampling": any(_SAMPLED.match(selector) for selector in selectors),
    }


def _stack_features(stacks: pb.Stacks) -> dict[str, bool]:
    return {"stacks": stacks.kernel or stacks.user}


def _path(call: str) -> str:
    return f"/ptrace.v1.Tracing/{call}"
