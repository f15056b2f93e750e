"""Log lines: one per record, greppable as text, parsable as JSON, harmless in a terminal."""

from __future__ import annotations

import io
import json
import logging
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from ptraced import log
from ptraced.config import Log

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


@pytest.fixture(autouse=True)
def _root_logger() -> Iterator[None]:
    root = logging.getLogger()
    kept = (root.handlers, root.level)
    yield
    root.handlers, level = kept
    root.setLevel(level)


@pytest.fixture
def stream() -> io.StringIO:
    return io.StringIO()


def test_a_text_line_has_time_level_message_and_fields(stream: io.StringIO) -> None:
    log.set_up(Log(), stream)
    log.event("session opened", session="3f2a", uid=1000, label="a script", empty="")
    time, _, rest = stream.getvalue().partition(" ")
    assert TIME.fullmatch(time)
    assert rest == 'info session opened session=3f2a uid=1000 label="a script" empty=""\n'


def test_a_field_cannot_forge_a_line_or_another_field(stream: io.StringIO) -> None:
    log.set_up(Log(), stream)
    log.event("opened", label='x" uid=0\n\x1b[2J\\\u2028\udcff', comm="a=b")
    assert stream.getvalue().partition("opened ")[2] == (
        'label="x\\" uid=0\\n\\x1b[2J\\\\\\u2028\\udcff" comm="a=b"\n'
    )


def test_a_json_line_is_an_object(stream: io.StringIO) -> None:
    log.set_up(Log(format="json"), stream)
    log.event("opened\n", uid=7, socket=Path("/run/x"))
    (line,) = stream.getvalue().splitlines()
    record = json.loads(line)
    assert TIME.fullmatch(record.pop("time"))
    assert record == {"level": "info", "message": "opened\n", "uid": 7, "socket": "/run/x"}


@pytest.mark.parametrize("format_", ["text", "json"])
def test_a_traceback_stays_on_its_line(stream: io.StringIO, format_: str) -> None:
    log.set_up(Log(format=format_), stream)
    try:
        raise ValueError("no\nnumber")
    except ValueError:
        logging.getLogger("ptraced.reader").exception("a round failed")
    (line,) = stream.getvalue().splitlines()
    assert "a round failed" in line
    assert "ValueError: no\\nnumber" in line


def test_records_below_the_level_are_left_out(stream: io.StringIO) -> None:
    log.set_up(Log(level="warning"), stream)
    log.event("chatter")
    log.event("trouble", logging.WARNING)
    assert [line.split()[1:] for line in stream.getvalue().splitlines()] == [["warning", "trouble"]]


def test_under_systemd_lines_start_with_their_priority(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (tmp_path / "journal").open("w+") as journal:
        status = os.fstat(journal.fileno())
        monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino}")
        log.set_up(Log(), journal)
        log.event("trouble", logging.ERROR, uid=1)
        journal.seek(0)
        assert journal.read() == "<3>error trouble uid=1\n"


def test_printable_escapes_control_characters_only() -> None:
    assert log.printable("kworker/0:1 äß\t\x7f\x9b") == "kworker/0:1 äß\\t\\x7f\\x9b"
