"""Metrics of a daemon at work, as Prometheus reads them."""

from __future__ import annotations

import http.client
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from leftovers import wait_until
from processes import Calls, Daemon
from prometheus_client.parser import text_string_to_metric_families
from streams import GETPPID, read_to_end

from ptrace_client.errors import ClientError
from ptrace_proto import ptrace_pb2 as pb

Values = dict[tuple[str, ...], float]


def scrape(path: Path) -> Values:
    """Values by name and labels."""
    connection = http.client.HTTPConnection("localhost")
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.connect(str(path))
    connection.request("GET", "/metrics")
    text = connection.getresponse().read().decode()
    connection.close()
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_what_sessions_do_is_counted_while_they_run_and_after(
    own_daemon: Callable[..., Daemon], calls: Callable[..., Calls], tmp_path: Path
) -> None:
    path = tmp_path / "metrics.sock"
    daemon = own_daemon(config=f'[metrics]\nlisten = "unix:{path}"\n')
    program = calls(1000)
    request = pb.TraceRequest(selectors=[GETPPID], scope=pb.Scope(pids=[program.pid]))
    assert ("ptraced_events_total", "root") not in scrape(path)
    with daemon.connect() as host:
        with host.open(request) as stream:
            program.make()
            wait_until(lambda: scrape(path)["ptraced_events_total", "root"] == 1000, "the events")
            during = scrape(path)
            assert during["ptraced_sessions", "root"] == 1
            assert during["ptraced_sources",] == 1
            assert during["ptraced_programs", "root"] >= 1
            assert during["ptraced_buffer_bytes", "root"] > 0
            assert during["ptraced_connections", "root"] >= 1
            assert during["ptraced_compilations_total",] >= 1
            assert during["ptraced_compile_seconds_total",] > 0
            assert during["ptraced_resident_bytes", "daemon"] > 1 << 20
            assert during["ptraced_resident_bytes", "front_process"] > 1 << 20
            host.kill(stream.started.session_id)
            read_to_end(stream)
        with pytest.raises(ClientError):
            host.open(pb.TraceRequest(selectors=["no:such"]))
        wait_until(lambda: ("ptraced_sessions", "root") not in scrape(path), "the session's end")
        wait_until(lambda: scrape(path)["ptraced_sources",] == 0, "the source's end")
        after = scrape(path)
    assert after["ptraced_events_total", "root"] == 1000
    assert after["ptraced_bytes_total", "root"] > 8000
    assert 0 < after["ptraced_bpf_seconds_total", "root"] < 60
    assert after["ptraced_sessions_started_total", "root"] == 1
    assert after["ptraced_kills_total", "root"] == 1
    assert ("ptraced_denials_total", "root") not in after
    assert daemon.stop() == 0
    assert not path.exists()
