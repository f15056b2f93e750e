"""The audit of a real daemon: who did what, how much of it, and what they were denied."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from leftovers import wait_until
from processes import Calls, Daemon
from streams import GETPPID, read_to_end

from ptrace_client.errors import ClientError
from ptrace_proto import ptrace_pb2 as pb

RULES = """
[audit]
journal = false
file = "{file}"
[[rule]]
name = "getppid only"
users = ["root"]
events = ["syscalls:sys_enter_getppid"]
tasks = "all"
admin = true
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "audit.jsonl"


@pytest.fixture
def audited(own_daemon: Callable[..., Daemon], file: Path) -> Daemon:
    return own_daemon(config=RULES.format(file=file))


def lines(file: Path, event: str) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in file.read_text().splitlines()]
    return [line for line in found if line["event"] == event]


def test_a_session_leaves_its_start_and_its_stop(
    audited: Daemon, file: Path, calls: Callable[..., Calls]
) -> None:
    program = calls(1000)
    request = pb.TraceRequest(
        selectors=[GETPPID], scope=pb.Scope(pids=[program.pid]), label="mine\x1b"
    )
    with audited.connect() as host, host.open(request) as stream:
        session = stream.started.session_id
        program.make()
        stream.stop()
        total = read_to_end(stream)
    assert total.end.totals[0].delivered == 1000
    wait_until(lambda: bool(lines(file, "session-stop")), "the session's stop")
    (start,), (stop,) = lines(file, "session-start"), lines(file, "session-stop")
    who = {"uid": 0, "gid": 0, "pid": os.getpid(), "user": "root", "via": "local"}
    assert start.items() >= who.items()
    assert (
        start.items()
        >= {
            "session": session,
            "label": "mine\x1b",
            "selectors": [GETPPID],
            "pids": [program.pid],
            "rules": ["getppid only"],
        }.items()
    )
    assert stop.items() >= who.items()
    assert (stop["session"], stop["reason"]) == (session, "stopped")
    assert (stop["delivered"], stop["bytes"]) == (
        1000,
        sum(len(batch.rows) for batch in total.batches),
    )
    assert stop["seconds"] > 0
    assert stop["bpf_seconds"] > 0
    assert not any(name.startswith("lost_") for name in stop)
    assert b"\x1b" not in file.read_bytes()


def test_connections_are_told(audited: Daemon, file: Path) -> None:
    with audited.connect():
        wait_until(lambda: len(lines(file, "connect")) >= 2, "the connection")
    # The first was the one that waited for the daemon.
    wait_until(lambda: len(lines(file, "disconnect")) >= 2, "the end of the connection")
    connect, disconnect = lines(file, "connect")[-1], lines(file, "disconnect")[-1]
    who = {"uid": 0, "gid": 0, "pid": os.getpid(), "user": "root", "via": "local"}
    assert connect.items() >= who.items()
    assert disconnect.items() >= who.items()
    assert disconnect["bytes_down"] > 0


def test_a_kill_tells_by_whom_and_whose(audited: Daemon, file: Path) -> None:
    with audited.connect() as host, host.open(pb.TraceRequest(selectors=[GETPPID])) as stream:
        host.kill(stream.started.session_id)
        read_to_end(stream)
        (kill,) = lines(file, "kill")
        assert (kill["uid"], kill["of_uid"]) == (0, 0)
        assert kill["session"] == stream.started.session_id
    wait_until(lambda: bool(lines(file, "session-stop")), "the session's stop")
    (stop,) = lines(file, "session-stop")
    assert (stop["reason"], stop["text"]) == ("killed", "killed by root")


def test_denials_are_told_with_their_reason_and_a_flood_of_them_is_counted(
    audited: Daemon, file: Path
) -> None:
    denied = pb.TraceRequest(selectors=["sched:sched_switch"])
    with audited.connect() as host:
        for _ in range(150):
            with pytest.raises(ClientError) as caught:
                host.open(denied)
    assert audited.stop() == 0
    told = lines(file, "denied")
    assert 100 <= len(told) < 150
    assert told[0].items() >= {"call": "Trace", "uid": 0, "reason": str(caught.value)}.items()
    assert told[0]["selectors"] == ["sched:sched_switch"]
    left_out = lines(file, "left-out")
    assert {line["of"] for line in left_out} == {"denied"}
    assert sum(line["count"] for line in left_out) == 150 - len(told)
    assert not lines(file, "session-start")


def test_a_reload_and_one_that_fails_are_told(audited: Daemon, file: Path) -> None:
    audited.process.send_signal(signal.SIGHUP)
    wait_until(lambda: bool(lines(file, "policy-reload")), "the reload")
    configuration = audited.socket.with_name("ptraced.toml")
    configuration.write_text(configuration.read_text() + "[nonsense]\n")
    audited.process.send_signal(signal.SIGHUP)
    wait_until(lambda: len(lines(file, "policy-reload")) == 2, "the reload that fails")
    taken, failed = lines(file, "policy-reload")
    assert taken["rules"] == ["getppid only"]
    assert "there is no section [nonsense]" in failed["reason"]


def test_lines_go_to_the_new_file_after_a_rotation(audited: Daemon, file: Path) -> None:
    old = file.with_name("audit.1")
    file.rename(old)
    audited.process.send_signal(signal.SIGHUP)
    wait_until(lambda: file.exists() and bool(lines(file, "policy-reload")), "the new file")
    with audited.connect() as host, host.open(pb.TraceRequest(selectors=[GETPPID])):
        wait_until(lambda: bool(lines(file, "session-start")), "the session's start")
    assert not lines(old, "session-start")


def test_throttling_is_told(
    own_daemon: Callable[..., Daemon], file: Path, calls: Callable[..., Calls]
) -> None:
    limit = "[rule.quota]\nevents_per_second = 1000\n"
    daemon = own_daemon(config=RULES.format(file=file) + limit)
    program = calls(200_000)
    request = pb.TraceRequest(selectors=[GETPPID], scope=pb.Scope(pids=[program.pid]))
    with daemon.connect() as host, host.open(request) as stream:
        program.make()
        wait_until(lambda: bool(lines(file, "throttle-stop")), "the end of the throttling")
        stream.stop()
        total = read_to_end(stream)
    start = lines(file, "throttle-start")[0]
    assert start["session"] == lines(file, "throttle-stop")[0]["session"]
    assert "1000" in start["reason"]
    assert daemon.stop() == 0
    (stop,) = lines(file, "session-stop")
    (totals,) = total.end.totals
    assert stop["delivered"] + stop["lost_throttled"] + stop.get("lost_kernel_buffer", 0) == 200_000
    assert stop["lost_throttled"] <= totals.lost
