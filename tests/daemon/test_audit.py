"""The audit: what lines carry, where they go, and how many there are at most."""

from __future__ import annotations

import json
import logging
import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ptraced.audit import kinds
from ptraced.audit.flood import FloodGate
from ptraced.audit.journal import Journal
from ptraced.audit.sinks import FileSink, JournalSink, LogSink, open_sinks
from ptraced.audit.trail import Audit
from ptraced.config import Audit as Settings
from ptraced.errors import Unavailable
from ptraced.identity import Caller, Via

ANN = Caller(1000, 100, 4711, user="ann")
# A title for the terminal, a line of its own, and a name that is written from right to left.
HOSTILE = "\x1b]0;owned\x07\nevent=kill \u202e\x7f\x9b"


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


class Kept:
    """Keeps what it is to write."""

    def __init__(self) -> None:
        self.lines: list[dict[str, Any]] = []

    def write(self, kind: kinds.Kind, facts: Any) -> bool:
        self.lines.append(dict(facts))
        return True

    def reopen(self) -> None: ...
    def close(self) -> None: ...


@pytest.fixture
def kept() -> Kept:
    return Kept()


def in_file(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


class TestLines:
    def test_who_from_where_and_what(self, tmp_path: Path) -> None:
        path = tmp_path / "audit"
        audit = Audit([FileSink(path)])
        audit.record(kinds.SESSION_START, ANN, session="3f2a", selectors=["sched:*", "irq:*"])
        remote = Caller(7, 7, 0, "bob", via=Via.TLS, address="192.0.2.7:50312", certificate="bob")
        audit.record(kinds.DENIED, remote, reason="error: no")
        audit.close()
        first, second = in_file(path)
        assert first.pop("time").endswith("Z")
        assert first == {
            "event": "session-start",
            "uid": 1000,
            "gid": 100,
            "pid": 4711,
            "user": "ann",
            "via": "local",
            "session": "3f2a",
            "selectors": ["sched:*", "irq:*"],
        }
        assert (second["via"], second["address"], second["certificate"]) == (
            *("tls", "192.0.2.7:50312"),
            "bob",
        )

    def test_what_clients_send_is_cut_to_a_bound(self, kept: Kept) -> None:
        Audit([kept]).record(
            kinds.DENIED, ANN, reason="x" * 1_000_000, selectors=["y" * 1_000_000] * 1000
        )
        (line,) = kept.lines
        assert line["reason"] == "x" * 1000 + "..."
        assert line["selectors"] == [*["y" * 200 + "..."] * 16, "and 984 more"]
        assert len(json.dumps(line)) < 5000

    def test_the_front_process_tells_of_connections(self, kept: Kept) -> None:
        audit = Audit([kept])
        who = {"uid": 0, "gid": 0, "pid": 9, "address": "", "certificate": ""}
        audit.front_event({"kind": "connect", **who})
        audit.front_event({"kind": "refused", **who, "reason": "too many", "count": 3})
        unknown = {"uid": None, "gid": None, "pid": 0, "address": "192.0.2.7:1", "certificate": ""}
        audit.front_event({"kind": "refused", **unknown, "reason": "expired", "count": 1})
        audit.front_event({"kind": "of a later version"})
        connect, refused, stranger = kept.lines
        assert (connect["event"], connect["uid"], connect["user"]) == ("connect", 0, "root")
        assert (refused["reason"], refused["count"], refused["pid"]) == ("too many", 3, 9)
        assert (stranger["uid"], stranger["address"]) == (None, "192.0.2.7:1")


class TestFile:
    def test_control_characters_are_escaped(self, tmp_path: Path) -> None:
        path = tmp_path / "audit"
        Audit([FileSink(path)]).record(kinds.DENIED, ANN, reason=HOSTILE)
        data = path.read_bytes()
        assert data.isascii()
        assert data.count(b"\n") == 1
        assert data.removesuffix(b"\n").decode().isprintable()
        assert in_file(path)[0]["reason"] == HOSTILE

    def test_others_may_not_read_it(self, tmp_path: Path) -> None:
        path = tmp_path / "audit"
        before = os.umask(0o077)
        try:
            FileSink(path).close()
        finally:
            os.umask(before)
        assert stat.S_IMODE(path.stat().st_mode) == 0o640

    def test_it_is_opened_anew_after_a_rotation(self, tmp_path: Path) -> None:
        path = tmp_path / "audit"
        audit = Audit([FileSink(path)])
        audit.record(kinds.KILL, ANN, session="1")
        path.rename(tmp_path / "audit.1")
        audit.record(kinds.KILL, ANN, session="2")
        audit.reopen()
        audit.record(kinds.KILL, ANN, session="3")
        assert [line["session"] for line in in_file(tmp_path / "audit.1")] == ["1", "2"]
        assert [line["session"] for line in in_file(path)] == ["3"]

    def test_where_it_cannot_be_opened_anew_the_old_one_is_kept(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        path = tmp_path / "audit"
        audit = Audit([FileSink(path)])
        path.rename(tmp_path / "audit.1")
        path.mkdir()
        audit.reopen()
        audit.record(kinds.KILL, ANN, session="1")
        assert len(in_file(tmp_path / "audit.1")) == 1
        assert [record.message for record in caplog.records] == [
            "cannot open the audit file anew; the old one is kept"
        ]

    def test_a_full_disk_is_told_once_and_counted(self, caplog: pytest.LogCaptureFixture) -> None:
        audit = Audit([FileSink(Path("/dev/full"))])
        for _ in range(5):
            audit.record(kinds.KILL, ANN)
        assert audit.lost == 5
        (record,) = caplog.records
        assert record.message == "lines of the audit file are lost"
        assert record.fields["error"] == "No space left on device"  # type: ignore[attr-defined]

    def test_a_file_that_cannot_be_opened_is_told_at_the_start(self, tmp_path: Path) -> None:
        with pytest.raises(Unavailable) as caught:
            open_sinks(Settings(file=tmp_path / "nosuch" / "audit"))
        assert str(caught.value) == (
            f"error: cannot open the audit file {tmp_path}/nosuch/audit: No such file or "
            "directory; the daemon's user must be able to write it, see audit.file"
        )

    def test_a_link_that_somebody_put_there_is_not_followed(self, tmp_path: Path) -> None:
        (tmp_path / "audit").symlink_to(tmp_path / "other")
        with pytest.raises(Unavailable):
            FileSink(tmp_path / "audit")
        assert not (tmp_path / "other").exists()


@pytest.fixture
def journald(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "journal"))
        listener.settimeout(10)
        yield listener


class TestJournal:
    def test_an_entry_has_a_field_for_each_fact(
        self, journald: socket.socket, tmp_path: Path
    ) -> None:
        audit = Audit([JournalSink(tmp_path / "journal")])
        audit.record(kinds.SESSION_START, ANN, selectors=["sched:*", HOSTILE], rules=["users"])
        lines = journald.recv(1 << 20).decode().removesuffix("\n").split("\n")
        fields = dict(line.split("=", 1) for line in lines)
        escaped = r"\x1b]0;owned\x07\nevent=kill \u202e\x7f\x9b"
        assert fields == {
            "MESSAGE": f"session-start ann: sched:* {escaped}",
            "MESSAGE_ID": "ea8a131e6d624b9fae36b89bb3a5473f",
            "PRIORITY": "6",
            "SYSLOG_IDENTIFIER": "ptraced",
            "PTRACED_EVENT": "session-start",
            "PTRACED_UID": "1000",
            "PTRACED_GID": "100",
            "PTRACED_PID": "4711",
            "PTRACED_USER": "ann",
            "PTRACED_VIA": "local",
            "PTRACED_SELECTORS": f"sched:* {escaped}",
            "PTRACED_RULES": "users",
        }

    def test_what_has_several_lines_goes_with_its_length(
        self, journald: socket.socket, tmp_path: Path
    ) -> None:
        assert Journal(tmp_path / "journal").send({"A": "b\nc", "D": "e"})
        assert journald.recv(1 << 20) == b"A\n\x03\0\0\0\0\0\0\0b\nc\nD=e\n"

    def test_a_journal_that_was_started_again_gets_the_next_entry(
        self, journald: socket.socket, tmp_path: Path
    ) -> None:
        audit = Audit([JournalSink(tmp_path / "journal")])
        journald.close()
        (tmp_path / "journal").unlink()
        audit.record(kinds.KILL, ANN)
        assert audit.lost == 1
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as again:
            again.bind(str(tmp_path / "journal"))
            audit.record(kinds.KILL, ANN)
            assert b"MESSAGE=kill ann\n" in again.recv(1 << 20)
        assert audit.lost == 1

    def test_a_journal_that_does_not_read_holds_up_nobody(
        self, journald: socket.socket, tmp_path: Path
    ) -> None:
        audit = Audit([JournalSink(tmp_path / "journal")])
        for uid in range(2000):
            audit.record(kinds.KILL, Caller(uid + 70_000, 0, user="x"), reason="x" * 1000)
        assert 0 < audit.lost < 2000

    def test_without_a_journal_lines_are_in_the_log(
        self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        monkeypatch.setattr(JournalSink.__init__, "__defaults__", (Path("/nosuch"),))
        sinks = open_sinks(Settings())
        assert [type(sink) for sink in sinks] == [LogSink]
        with caplog.at_level(logging.INFO):
            Audit(sinks).record(kinds.KILL, ANN, session="3f")
        (record,) = caplog.records
        assert record.message == "audit kill"
        assert record.fields["session"] == "3f"  # type: ignore[attr-defined]


class TestFlood:
    def test_ten_thousand_denials_are_a_hundred_lines_and_a_count(self, kept: Kept) -> None:
        clock = Clock()
        audit = Audit([kept], clock)
        for _ in range(10_000):
            audit.record(kinds.DENIED, ANN, reason="no")
            clock.now += 0.0001
        audit.record(kinds.DENIED, Caller(1001, 0, user="bob"), reason="no")
        audit.record(kinds.SESSION_START, ANN)
        audit.close()
        denied = [line for line in kept.lines if line["event"] == "denied"]
        assert [line["uid"] for line in denied].count(1000) == 100
        # Others, and other kinds, are not left out for it.
        assert {line["uid"] for line in denied} == {1000, 1001}
        assert any(line["event"] == "session-start" for line in kept.lines)
        last = kept.lines[-1]
        assert (last["event"], last["uid"], last["of"], last["count"]) == (
            *("left-out", 1000),
            *("denied", 9900),
        )
        assert audit.left_out == 9900

    def test_a_flood_that_has_ended_is_told_of_without_another_line(self, kept: Kept) -> None:
        audit = Audit([kept], Clock(), summary_after=0.01)
        for _ in range(103):
            audit.record(kinds.DENIED, ANN)
        assert audit._summary is not None
        audit._summary.join()
        assert (kept.lines[-1]["event"], kept.lines[-1]["count"]) == ("left-out", 3)

    def test_lines_come_back_with_time(self) -> None:
        gate: FloodGate[str] = FloodGate()
        assert [gate.admits("a", 2, 1.0, 0.0) for _ in range(4)] == [True, True, False, False]
        assert not gate.admits("a", 2, 1.0, 0.9)
        assert gate.admits("a", 2, 1.0, 1.1)
        assert [gate.admits("a", 2, 1.0, 100.0) for _ in range(3)] == [True, True, False]
        assert gate.left_out() == {"a": 4}
        assert gate.left_out() == {}

    def test_it_remembers_so_many_at_most(self) -> None:
        gate: FloodGate[int] = FloodGate(keys_max=3)
        for key in range(100):
            assert gate.admits(key, 1, 0.0, 0.0)
        assert not gate.admits(99, 1, 0.0, 0.0)
        assert len(gate._buckets) == 3
