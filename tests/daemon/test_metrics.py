"""Metrics: what they are called, whose they are, and how they are read."""

from __future__ import annotations

import http.client
import os
import socket
import stat
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from ptraced.audit import kinds
from ptraced.audit.kinds import Kind
from ptraced.config import parse_config
from ptraced.errors import TraceError, Unavailable
from ptraced.metrics.collector import DaemonCollector
from ptraced.metrics.http import MetricsServer
from ptraced.metrics.names import METRICS, documentation, read_as
from ptraced.user_counts import OTHER, UserCounts

PROJECT = Path(__file__).resolve().parents[2]


class Parts:
    """A daemon with root, a user without a name, and others."""

    def session_counts(self) -> Mapping[int | None, Mapping[str, int]]:
        return {
            0: Counter(
                events=7, bytes=70, run_time=1_500_000_000, open=1, queued=5, **{"lost queue": 3}
            ),
            4_000_000: Counter(events=1, bytes=8, **{"lost throttled": 2}),
            OTHER: Counter(events=100),
        }

    def held(self) -> Mapping[int | None, Mapping[str, int]]:
        return {0: Counter(programs=2, probes=1, buffer_bytes=4096)}

    def audited(self) -> Mapping[int | None, Mapping[Kind, int]]:
        return {
            0: Counter({kinds.CONNECT: 5, kinds.DISCONNECT: 3, kinds.DENIED: 4, kinds.KILL: 1}),
            OTHER: Counter({kinds.REFUSED: 9}),
        }

    def audit_lines(self) -> tuple[Mapping[Kind, int], int, int]:
        return {kinds.DENIED: 3}, 1, 2

    def sources(self) -> int:
        return 6

    def compilations(self) -> tuple[int, float]:
        return 2, 0.25

    def resident_bytes(self) -> Mapping[str, int]:
        return {"daemon": 1 << 20}


@pytest.fixture
def collector() -> DaemonCollector:
    return DaemonCollector(Parts())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "metrics.sock"


@pytest.fixture
def server(collector: DaemonCollector, path: Path) -> Iterator[MetricsServer]:
    running = MetricsServer(f"unix:{path}", collector)
    yield running
    running.close()


def read(path: Path, what: str = "/metrics") -> tuple[int, str]:
    connection = http.client.HTTPConnection("localhost")
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.connect(str(path))
    connection.request("GET", what)
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    return answer.status, text


def test_every_metric_is_there_with_its_users(server: MetricsServer, path: Path) -> None:
    status, text = read(path)
    assert status == 200
    families = list(text_string_to_metric_families(text))
    assert {family.name for family in families} == set(METRICS)
    values = {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in families
        for sample in family.samples
    }
    assert values["ptraced_events_total", "root"] == 7
    assert values["ptraced_events_total", "4000000"] == 1
    assert values["ptraced_events_total", "other"] == 100
    assert values["ptraced_bpf_seconds_total", "root"] == 1.5
    assert values["ptraced_sessions", "root"] == 1
    assert values["ptraced_lost_events_total", "queue", "root"] == 3
    assert values["ptraced_lost_events_total", "4000000", "throttled"] == 2
    assert values["ptraced_connections", "root"] == 2
    assert values["ptraced_connections_refused_total", "other"] == 9
    assert values["ptraced_denials_total", "root"] == 4
    assert values["ptraced_buffer_bytes", "root"] == 4096
    assert values["ptraced_compile_seconds_total",] == 0.25
    assert values["ptraced_audit_lines_lost_total",] == 1
    assert values["ptraced_resident_bytes", "daemon"] == 1 << 20
    assert {name for name, *_ in values} <= {read_as(name) for name in METRICS}


def test_only_the_daemons_group_may_read_them(server: MetricsServer, path: Path) -> None:
    assert stat.S_IMODE(path.stat().st_mode) == 0o660


def test_other_pages_are_not_there(server: MetricsServer, path: Path) -> None:
    assert read(path, "/etc/passwd")[0] == 404


def test_the_socket_of_a_daemon_that_was_killed_is_replaced_and_removed_at_the_end(
    collector: DaemonCollector, path: Path
) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    server = MetricsServer(f"unix:{path}", collector)
    assert read(path)[0] == 200
    server.close()
    assert not path.exists()


def test_a_client_that_breaks_off_does_no_harm(server: MetricsServer, path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        client.send(b"GET /metr")
    assert read(path)[0] == 200


def test_a_tcp_port(collector: DaemonCollector) -> None:
    server = MetricsServer("127.0.0.1:0", collector)
    connection = http.client.HTTPConnection("127.0.0.1", server.port)
    connection.request("GET", "/metrics")
    assert connection.getresponse().status == 200
    connection.close()
    with pytest.raises(Unavailable) as caught:
        MetricsServer(f"127.0.0.1:{server.port}", collector)
    assert str(caught.value) == (
        f"error: cannot listen at 127.0.0.1:{server.port} for metrics: Address already in use; "
        "see metrics.listen"
    )
    server.close()


def test_other_than_loopback_needs_a_word(tmp_path: Path) -> None:
    with pytest.raises(TraceError) as caught:
        parse_config('[metrics]\nlisten = "0.0.0.0:9464"', "f.toml")
    assert str(caught.value) == (
        'error: f.toml:2: metrics.listen = "0.0.0.0:9464" would show who traces how much to the '
        "network; metrics.public = true allows that"
    )
    config = parse_config('[metrics]\nlisten = "0.0.0.0:9464"\npublic = true', "f.toml")
    assert config.metrics.listen == "0.0.0.0:9464"
    for listen in ("127.0.0.1:9464", "[::1]:9464", "unix:/run/ptraced/metrics.sock", ""):
        assert parse_config(f'[metrics]\nlisten = "{listen}"', "f").metrics.listen == listen
    for wrong in ('"9464"', '"unix:relative"', '"0.0.0.0:99999"', "9464", '"host:1"'):
        with pytest.raises(TraceError, match=r"f:2: metrics.listen must be"):
            parse_config(f"[metrics]\nlisten = {wrong}", "f")


def test_the_documentation_is_current() -> None:
    assert (PROJECT / "docs" / "metrics.md").read_text() == documentation(), (
        "python -m ptraced.metrics.names > docs/metrics.md"
    )


class TestUserCounts:
    def test_those_who_were_seen_last_keep_their_names(self) -> None:
        counts: UserCounts[str] = UserCounts(users_max=2)
        for uid in (1, 2, 1, 3):
            counts.add(uid, {"n": 1})
        assert counts.snapshot() == {1: {"n": 2}, 3: {"n": 1}, OTHER: {"n": 1}}

    def test_nothing_is_lost_of_a_thousand_users(self) -> None:
        counts: UserCounts[str] = UserCounts(users_max=10)
        for uid in range(1000):
            counts.add(uid, {"n": uid})
        found = counts.snapshot()
        assert len(found) == 11
        assert sum(each["n"] for each in found.values()) == sum(range(1000))

    def test_somebody_unknown_is_one_of_the_others(self) -> None:
        counts: UserCounts[str] = UserCounts()
        counts.add(None, {"n": os.getpid()})
        assert counts.snapshot() == {OTHER: {"n": os.getpid()}}
