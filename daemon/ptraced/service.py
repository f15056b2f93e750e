"""The gRPC calls of proto/ptrace/v1, each a few lines over the part that does the work."""

from __future__ import annotations

import fnmatch
import logging
import platform
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn, Protocol, TypeVar

import grpc
from google.protobuf.message import DecodeError, Message

from ptrace_proto import ptrace_pb2 as pb
from ptraced import __version__
from ptraced.audit import kinds
from ptraced.audit.trail import Audit
from ptraced.config import Config
from ptraced.diagnostics import bounded
from ptraced.errors import LimitExceeded, NotFound, PermissionRefused, TraceError, Unavailable
from ptraced.filter import FILTER_BYTES_MAX
from ptraced.identity import Caller
from ptraced.log_flood import may_log
from ptraced.planner import describe
from ptraced.policy.messages import grant_message
from ptraced.quotas.one_at_a_time import OneAtATime
from ptraced.sampling.selector import names as sampled_names
from ptraced.scope import cgroup_root, online_cpus
from ptraced.sessions import Sessions, realtime_offset
from ptraced.source import now
from ptraced.tracefs import Tracefs

Request = TypeVar("Request", bound=Message)

_log = logging.getLogger(__name__)
API_MINOR = 4
# Characters of a glob: Python keeps compiled ones. Each is tried on each event.
_GLOB_MAX = 256
_GLOBS_MAX = 64
SERVICE = pb.DESCRIPTOR.services_by_name["Tracing"].full_name

_STATUS = {
    NotFound: grpc.StatusCode.NOT_FOUND,
    PermissionRefused: grpc.StatusCode.PERMISSION_DENIED,
    LimitExceeded: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Unavailable: grpc.StatusCode.FAILED_PRECONDITION,
}


class CallContext(Protocol):
    """What of grpc.ServicerContext is used here."""

    def abort(self, code: grpc.StatusCode, details: str) -> NoReturn: ...
    def peer(self) -> str: ...
    def cancel(self) -> None: ...
    def is_active(self) -> bool: ...
    def add_callback(self, callback: Callable[[], None]) -> bool: ...


class Service:
    """The calls. `identify` tells who is behind a gRPC peer name."""

    def __init__(
        self,
        config: Config,
        tracefs: Tracefs,
        sessions: Sessions,
        identify: Callable[[str], Caller],
        audit: Audit,
    ) -> None:
        self._audit = audit
        self._config = config
        self._tracefs = tracefs
        self._sessions = sessions
        self._identify = identify
        self._describing = OneAtATime()

    def handler(self) -> grpc.GenericRpcHandler:
        """The calls as a handler for grpc.Server.add_generic_rpc_handlers."""
        handlers = {
            "GetServerInfo": _unary(self.get_server_info, pb.GetServerInfoRequest),
            "ListEvents": _unary(self.list_events, pb.ListEventsRequest),
            "ListSessions": _unary(self.list_sessions, pb.ListSessionsRequest),
            "StopSession": _unary(self.stop_session, pb.StopSessionRequest),
            "WhoAmI": _unary(self.who_am_i, pb.WhoAmIRequest),
            "KillSession": _unary(self.kill_session, pb.KillSessionRequest),
        }
        answer = _reporting(self.describe_events, pb.DescribeEventsRequest, self._denied)
        handlers["DescribeEvents"] = grpc.unary_stream_rpc_method_handler(
            lambda data, context: self._describe_alone(answer, data, context)
        )
        handlers["Trace"] = grpc.unary_stream_rpc_method_handler(
            lambda data, context: self.trace(_parsed(pb.TraceRequest, data, context), context)
        )
        return grpc.method_handlers_generic_handler(SERVICE, handlers)

    def get_server_info(
        self, request: pb.GetServerInfoRequest, context: CallContext
    ) -> pb.ServerInfo:
        system = platform.uname()
        return pb.ServerInfo(
            version=__version__,
            api_minor=API_MINOR,
            kernel_release=system.release,
            machine=system.machine,
            hostname=system.node,
            features=self._features(),
            limits=pb.Limits(
                sessions=self._config.limits.sessions,
                events_per_session=self._config.limits.events_per_session,
                queue_bytes=self._config.limits.queue_bytes,
                buffer_pages=self._config.limits.max_buffer_pages,
                filter_bytes=FILTER_BYTES_MAX,
            ),
            caller=_caller_message(self._identify(context.peer())),
            online_cpus=online_cpus(),
            monotonic_time=now(),
            realtime_offset=realtime_offset(),
            boot_id=Path("/proc/sys/kernel/random/boot_id").read_text().strip(),
        )

    @staticmethod
    def _features() -> list[str]:
        features = [
            *("tracepoint", "projection", "self_describing", "tasks", "print_formats"),
            *("probes", "sampling", "stacks", "format_texts", "task_records"),
        ]
        return features + ["cgroups"] * (cgroup_root() is not None)

    def list_events(
        self, request: pb.ListEventsRequest, context: CallContext
    ) -> pb.ListEventsResponse:
        if len(request.globs) > _GLOBS_MAX:
            raise TraceError(f"error: {len(request.globs)} globs, at most {_GLOBS_MAX}")
        for glob in request.globs:
            if len(glob) > _GLOB_MAX:
                raise TraceError(f"error: a glob of {len(glob)} characters, at most {_GLOB_MAX}")
        # The name of a system alone means all of it; events that sample have none.
        globs = [form for glob in request.globs for form in (glob, f"{glob}:*")]
        with self._sessions.planning.turn_of(self._identify(context.peer()).uid):
            names = sorted([*self._tracefs.names(), *sampled_names()])
            if globs:
                names = [
                    name for name in names if any(fnmatch.fnmatchcase(name, glob) for glob in globs)
                ]
        return pb.ListEventsResponse(names=names)

    def describe_events(
        self, request: pb.DescribeEventsRequest, context: CallContext
    ) -> pb.DescribeEventsResponse:
        grant = self._sessions.grant(self._identify(context.peer()))
        with self._sessions.planning.turn_of(grant.caller.uid):
            return pb.DescribeEventsResponse(schemas=describe(request, self._tracefs, grant))

    def _describe_alone(
        self, answer: Callable[[bytes, CallContext], bytes], data: bytes, context: CallContext
    ) -> Iterator[bytes]:
        """Answer when the last answer of that user has been taken: they have megabytes."""
        with self._describing.turn_of(self._identify(context.peer()).uid):
            # Whoever waited long may have gone.
            if context.is_active():
                yield answer(data, context)

    def list_sessions(
        self, request: pb.ListSessionsRequest, context: CallContext
    ) -> pb.ListSessionsResponse:
        answer = pb.ListSessionsResponse()
        for session in self._sessions.list(self._identify(context.peer())):
            info = session.info()
            info.caller.CopyFrom(_caller_message(session.caller))
            answer.sessions.append(info)
        return answer

    def stop_session(
        self, request: pb.StopSessionRequest, context: CallContext
    ) -> pb.StopSessionResponse:
        self._sessions.stop(request.session_id, self._identify(context.peer()))
        return pb.StopSessionResponse()

    def kill_session(
        self, request: pb.KillSessionRequest, context: CallContext
    ) -> pb.KillSessionResponse:
        self._sessions.kill(request.session_id, self._identify(context.peer()))
        return pb.KillSessionResponse()

    def who_am_i(self, request: pb.WhoAmIRequest, context: CallContext) -> pb.WhoAmIResponse:
        caller = self._identify(context.peer())
        answer = grant_message(self._sessions.grant(caller), self._sessions.used(caller))
        answer.caller.CopyFrom(_caller_message(caller))
        return answer

    def trace(self, request: pb.TraceRequest, context: CallContext) -> Iterator[bytes]:
        try:
            session, started = self._sessions.open(request, self._identify(context.peer()))
        except TraceError as error:
            self._denied(request, context, error)
            _abort(context, error)
        except Exception as error:
            _abort_at_fault(context, error)
        try:
            # False: the client is gone already, and the callback will not be called.
            if not context.add_callback(session.cancel):
                return
            session.cut = context.cancel
            yield pb.TraceResponse(started=started).SerializeToString()
            yield from session.messages()
        finally:
            # The call refers to the session: together they would stay until Python looks for
            # circles, and so would the call's stream and its connection.
            session.cut = None
            self._sessions.close(session)

    def _denied(self, request: Message, context: CallContext, error: TraceError) -> None:
        """Audit what the policy or a limit denied; mistakes are the caller's own affair."""
        if isinstance(error, PermissionRefused | LimitExceeded):
            self._audit.record(
                kinds.DENIED,
                self._identify(context.peer()),
                call=request.DESCRIPTOR.name.removesuffix("Request"),
                selectors=list(getattr(request, "selectors", ())),
                reason=str(error),
            )


def _unary(
    call: Callable[[Request, CallContext], Message],
    kind: type[Request],
    denied: Callable[[Message, CallContext, TraceError], None] = lambda *_: None,
) -> grpc.RpcMethodHandler:
    """A call of one request and one response."""
    return grpc.unary_unary_rpc_method_handler(_reporting(call, kind, denied))


def _reporting(
    call: Callable[[Request, CallContext], Message],
    kind: type[Request],
    denied: Callable[[Message, CallContext, TraceError], None],
) -> Callable[[bytes, CallContext], bytes]:
    """A call whose TraceErrors become gRPC statuses with the same text.

    Requests and responses are serialized: many of these wait that are several times as large else.
    """

    def reporting(data: bytes, context: CallContext) -> bytes:
        request = _parsed(kind, data, context)
        try:
            return call(request, context).SerializeToString()
        except TraceError as error:
            denied(request, context, error)
            _abort(context, error)
        except Exception as error:
            _abort_at_fault(context, error)

    return reporting


def _parsed(kind: type[Request], data: bytes, context: CallContext) -> Request:
    """A request out of its bytes.

    Not left to gRPC, which takes what strangers send for a fault of ours: a traceback in the log.
    """
    try:
        return kind.FromString(data)
    except DecodeError:
        _abort(context, TraceError(f"error: the request is no {kind.DESCRIPTOR.full_name}"))


def _abort(context: CallContext, error: TraceError) -> NoReturn:
    code = next(
        (code for kind, code in _STATUS.items() if isinstance(error, kind)),
        grpc.StatusCode.INVALID_ARGUMENT,
    )
    if error.__cause__ is not None and may_log("refused"):
        _log.warning("refused: %s", error, exc_info=error.__cause__)
    context.abort(code, bounded(str(error)))


def _abort_at_fault(context: CallContext, error: Exception) -> NoReturn:
    """End a call that met a bug of ours, or something of the host that we did not think of."""
    if may_log("a call failed"):
        _log.error("a call failed", exc_info=error)
    what = f"{type(error).__name__}: {error}"
    context.abort(grpc.StatusCode.INTERNAL, bounded(f"error: a fault in ptraced: {what}"))


def _caller_message(caller: Caller) -> pb.Caller:
    return pb.Caller(
        known=True,
        uid=caller.uid,
        gid=caller.gid,
        pid=caller.pid,
        user=caller.user,
        via=caller.via,
        address=caller.address,
        certificate=caller.certificate,
        groups=sorted(caller.groups),
    )
