"""What a failed call means to the user."""

from __future__ import annotations

import grpc

from ptrace_client import __version__
from ptrace_client.endpoint import Endpoint, NoDaemonError
from ptrace_client.ends import LostConnection
from ptrace_client.errors import ClientError

# The daemon's own sentences: what is wrong with the request, for the user as they stand.
_DAEMON_TEXT = frozenset(
    {
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.NOT_FOUND,
        grpc.StatusCode.PERMISSION_DENIED,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.FAILED_PRECONDITION,
    }
)

_BROKEN_OFF = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED})


def explain_failure(error: grpc.RpcError, endpoint: Endpoint) -> ClientError:
    """Return what the user is told when a call failed before it gave an answer."""
    code, text = error.code(), error.details() or ""
    if code in _DAEMON_TEXT:
        # Limits are free again when others have ended.
        return ClientError(text, transient=code is grpc.StatusCode.RESOURCE_EXHAUSTED)
    if code is grpc.StatusCode.UNAVAILABLE or (
        # gRPC tries a TLS connection again and again that the daemon breaks off.
        code is grpc.StatusCode.DEADLINE_EXCEEDED and endpoint.tls is not None
    ):
        # Both a daemon that refuses and a missing daemon end up here. Only the latter
        # leaves a place that takes no connection.
        try:
            endpoint.check()
        except ClientError as reason:
            # Certificates do not get right by themselves.
            reason.transient = endpoint.tls is None or isinstance(reason, NoDaemonError)
            return reason
        if code is grpc.StatusCode.UNAVAILABLE:
            return ClientError(text + _tls_hint(endpoint), transient=True)
    if code is grpc.StatusCode.UNIMPLEMENTED:
        return ClientError(
            f"wrong version: the daemon at {endpoint} does not know this call of the contract "
            f"ptrace.v1 ({text}); install the ptraced that belongs to ptrace-client {__version__}"
        )
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return ClientError(
            f"the daemon at {endpoint} did not answer in time; see its log: "
            "`journalctl -u ptraced`",
            transient=True,
        )
    return ClientError(
        f"the daemon at {endpoint} failed: {code.name}: {text}; "
        "see its log: `journalctl -u ptraced`",
        status=1,
    )


def _tls_hint(endpoint: Endpoint) -> str:
    """A word to those who speak plain TCP where TLS may be meant."""
    if endpoint.socket is not None or endpoint.tls is not None:
        return ""
    return "; if the daemon speaks TLS there, name your certificates by --tls FOLDER"


def explain_lost_stream(error: grpc.RpcError | None, endpoint: Endpoint) -> LostConnection:
    """Return what the user is told when an open stream broke off without its end message."""
    why = ""
    # How a dead daemon shows is gRPC's affair; any other status says what happened.
    if error is not None and error.code() not in _BROKEN_OFF:
        why = f" ({error.code().name}: {error.details()})"
    return LostConnection(
        f"the daemon at {endpoint} went away in the middle of the trace{why}: events after this "
        "moment are missing; see `systemctl status ptraced`, then run again"
    )
