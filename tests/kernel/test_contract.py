"""The contract as others see it: programs in other languages, newer clients, a second daemon."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from commandline import Ended, open_folder, ptrace_client, wait_for_session
from google.protobuf import json_format, message_factory
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)
from leftovers import children_of, wait_until
from processes import Calls, Daemon
from streams import GETPPID, read_to_end

from ptrace_proto import ptrace_pb2 as pb
from ptraced.identity import groups_of
from ptraced.scope import is_alive

# Field 900, a varint, and field 901, bytes, in protobuf's encoding: no message has them.
ADDED = b"\xa0\x38\x01" + b"\xaa\x38\x03new"


class Reflected:
    """Calls by what the server tells of itself, as grpcurl makes them: JSON in, JSON out."""

    def __init__(self, channel: grpc.Channel) -> None:
        self._channel = channel
        self._database = ProtoReflectionDescriptorDatabase(channel)
        self._pool = DescriptorPool(self._database)
        self.services = set(self._database.get_services())

    def call(self, service: str, name: str, request: dict[str, Any]) -> Any:
        """The answer as a dict, of a stream the list of them."""
        method = self._pool.FindServiceByName(service).FindMethodByName(name)
        takes = message_factory.GetMessageClass(method.input_type)
        gives = message_factory.GetMessageClass(method.output_type)
        streams = method.server_streaming
        answer = (self._channel.unary_stream if streams else self._channel.unary_unary)(
            f"/{service}/{name}",
            request_serializer=takes.SerializeToString,
            response_deserializer=gives.FromString,
        )(json_format.ParseDict(request, takes()))
        if streams:
            return [json_format.MessageToDict(message) for message in answer]
        return json_format.MessageToDict(answer)


def test_a_program_without_our_code_finds_its_way_by_reflection(
    daemon: Daemon, calls: Callable[..., Calls]
) -> None:
    program = calls(1000)
    with grpc.insecure_channel(f"unix:{daemon.socket}") as channel, daemon.connect() as host:
        server = Reflected(channel)
        assert server.services == {
            "ptrace.v1.Tracing",
            "grpc.health.v1.Health",
            "grpc.reflection.v1alpha.ServerReflection",
        }
        for service in ("", "ptrace.v1.Tracing"):
            health = server.call("grpc.health.v1.Health", "Check", {"service": service})
            assert health == {"status": "SERVING"}
        info = server.call("ptrace.v1.Tracing", "GetServerInfo", {})
        # json_format leaves out what is zero: root's uid and gid.
        assert info["caller"] == {
            "known": True,
            "pid": os.getpid(),
            "user": "root",
            "via": "local",
            "groups": sorted(groups_of("root")),
        }
        names = server.call("ptrace.v1.Tracing", "ListEvents", {"globs": ["sched:sched_sw*"]})
        assert "sched:sched_switch" in names["names"]

        # WHEN the session ends as its process does
        def work() -> None:
            wait_for_session(host, "grpcurl")
            program.make()
            program.end()

        working = threading.Thread(target=work)
        working.start()
        request = {
            "selectors": [GETPPID],
            "scope": {"pids": [program.pid]},
            "selfDescribing": True,
            "label": "grpcurl",
        }
        first, *messages = server.call("ptrace.v1.Tracing", "Trace", request)
        working.join()

    assert first["started"]["schemas"][0]["name"] == "sys_enter_getppid"
    samples = [sample for message in messages for sample in message.get("samples", ())]
    assert len(samples) == 1000
    assert {sample["event"] for sample in samples} == {GETPPID}
    fields = {field["name"]: field for field in samples[0]["fields"]}
    assert fields["_pid"] == {"name": "_pid", "signed": str(program.pid)}
    assert fields["_comm"] == {"name": "_comm", "text": "calls"}
    assert fields["__syscall_nr"] == {"name": "__syscall_nr", "signed": "110"}
    assert messages[-1]["end"] == {
        "reason": "END_REASON_TARGETS_GONE",
        "text": "all traced processes are gone",
        "totals": [{"schemaId": 1, "delivered": "1000"}],
    }


def test_a_client_one_minor_version_newer_is_served(
    daemon: Daemon, calls: Callable[..., Calls]
) -> None:
    """Fields that it knows and the daemon does not are ignored, at every level."""
    program = calls(500)

    def added(message: Any) -> Any:
        return type(message).FromString(message.SerializeToString() + ADDED)

    request = added(
        pb.TraceRequest(
            selectors=[GETPPID],
            scope=added(pb.Scope(pids=[program.pid])),
            projections=[added(pb.Projection(event=GETPPID))],
            label="newer",
        )
    )
    assert request.SerializeToString().count(ADDED) == 3
    with daemon.connect() as host, host.open(request) as stream:
        program.make()
        program.end()
        total = read_to_end(stream)
        assert total.delivered == {1: 500}

        for name, message in (
            ("GetServerInfo", pb.GetServerInfoRequest()),
            ("DescribeEvents", pb.DescribeEventsRequest(selectors=[GETPPID])),
            ("ListEvents", pb.ListEventsRequest(globs=["sched"])),
            ("ListSessions", pb.ListSessionsRequest()),
        ):
            assert raw_call(daemon, name, message.SerializeToString() + ADDED)


def test_a_call_that_a_newer_client_knows_is_unimplemented_and_nothing_breaks(
    daemon: Daemon,
) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        raw_call(daemon, "TravelInTime", b"")
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert raw_call(daemon, "GetServerInfo", b"")


def raw_call(daemon: Daemon, name: str, request: bytes) -> bytes:
    """Call with bytes and get the answer's bytes, "" for an answer without content."""
    with grpc.insecure_channel(f"unix:{daemon.socket}") as channel:
        answer: bytes = channel.unary_unary(f"/ptrace.v1.Tracing/{name}")(request)
        return answer or b"empty"


def second_daemon(daemon: Daemon) -> Ended:
    """What `ptraced` says that is to serve where a daemon may serve already."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "ptraced.cli", "--socket", daemon.socket),
            *("--config", daemon.socket.with_name("ptraced.toml")),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    return Ended(done.returncode, done.stdout, done.stderr)


def test_a_second_daemon_says_so_and_the_first_goes_on(
    daemon: Daemon, calls: Callable[..., Calls]
) -> None:
    program = calls(100)
    request = pb.TraceRequest(selectors=[GETPPID], scope=pb.Scope(pids=[program.pid]))
    with daemon.connect() as host, host.open(request) as stream:
        assert second_daemon(daemon) == Ended(
            2,
            "",
            f"error: another daemon (process {daemon.pid}) serves on {daemon.socket}; stop it, "
            "or name another path by --socket\n",
        )
        program.make()
        program.end()
        assert read_to_end(stream).delivered.total() == 100
    with daemon.connect() as host:
        assert host.info.caller.known


def test_the_socket_of_a_daemon_that_was_killed_is_taken_over(tmp_path: Path) -> None:
    killed = Daemon(tmp_path)
    wait_until(lambda: len(children_of(killed.pid)) == 2, "front and compile worker run")
    helpers = children_of(killed.pid)
    killed.stop(signal.SIGKILL)
    wait_until(lambda: not any(map(is_alive, helpers)), "its helpers end too")
    assert killed.socket.exists()

    daemon = Daemon(tmp_path)
    with daemon.connect() as host:
        assert host.list_events("sched:sched_switch") == ["sched:sched_switch"]
    assert daemon.stop() == 0
    assert not list(tmp_path.glob("ptraced.sock*"))


# sun_path of unix(7) without the closing NUL.
LONGEST = 107


@pytest.mark.parametrize("name", ["a b%41?#", "x" * LONGEST], ids=["special", "longest"])
def test_any_socket_path_works(name: str) -> None:
    with open_folder() as place:
        folder = place / name[: LONGEST - len(f"{place}//ptraced.sock")]
        folder.mkdir()
        daemon = Daemon(folder)
        try:
            ended = ptrace_client("list", "--socket", daemon.socket, "sched:sched_switch")
        finally:
            assert daemon.stop() == 0
    assert ended == Ended(0, "sched:sched_switch\n", "")
