"""Structured logging: one line per record, on standard error.

As text, `TIME LEVEL MESSAGE key=value ...`; or as one JSON object. Under systemd, text lines
start with the journal's priority instead of the time, which the journal notes itself.
"""

from __future__ import annotations

import json
import logging
import os
import re
import sys
import time
from typing import Any, TextIO

from ptraced.config import Log

_logger = logging.getLogger("ptraced")

# Control characters (C0, C1), what Unicode calls line ends, what changes the direction of
# writing, and halves of characters that stand for undecodable bytes: none of them may reach a
# terminal, split a line, or make it look like another.
_UNPRINTABLE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)
_PLAIN = re.compile(r"[\w./:@%+*,\[\]()-]+", re.ASCII)
# sd-daemon(3)
_PRIORITIES = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2}


def event(message: str, level: int = logging.INFO, **fields: object) -> None:
    """Log a message with fields: `log.event("session opened", session="3f", uid=1000)`."""
    _logger.log(level, "%s", message, extra={"fields": fields})


def set_up(config: Log, stream: TextIO | None = None) -> None:
    """Send all records of `config.level` and above to `stream`, by default standard error."""
    stream = stream or sys.stderr
    handler = logging.StreamHandler(stream)
    if config.format == "json":
        handler.setFormatter(JsonFormatter())
    else:
        handler.setFormatter(TextFormatter(journal=_is_journal(stream)))
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(config.level.upper())


def printable(text: str) -> str:
    """`text` with control characters as escapes, so that it can do no harm in a terminal."""
    return _UNPRINTABLE.sub(_escape, text)


class TextFormatter(logging.Formatter):
    """`2026-11-21T09:30:00.123Z info session opened uid=1000`."""

    def __init__(self, *, journal: bool = False) -> None:
        super().__init__()
        self._journal = journal

    def format(self, record: logging.LogRecord) -> str:
        level = record.levelname.lower()
        start = f"<{_PRIORITIES.get(level, 5)}>" if self._journal else f"{_time(record)} "
        pairs = [f"{key}={_quoted(value)}" for key, value in _fields(record).items()]
        return " ".join([start + level, printable(record.getMessage()), *pairs])


class JsonFormatter(logging.Formatter):
    """`{"time": ..., "level": ..., "message": ..., "uid": 1000}`."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "message": record.getMessage(),
            **_fields(record),
        }
        # ASCII only: everything else leaves as an escape.
        return json.dumps(line, default=str)


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    fields = dict(getattr(record, "fields", {}))
    if record.exc_info and record.exc_info[0] is not None:
        fields["traceback"] = logging.Formatter().formatException(record.exc_info)
    return fields


def _time(record: logging.LogRecord) -> str:
    seconds = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
    return f"{seconds}.{int(record.msecs):03d}Z"


def _quoted(value: object) -> str:
    text = str(value)
    if _PLAIN.fullmatch(text):
        return text
    return '"' + printable(text.replace("\\", "\\\\").replace('"', '\\"')) + '"'


def _escape(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape").decode("ascii")


def _is_journal(stream: TextIO) -> bool:
    """Whether systemd connected `stream` to the journal (systemd.exec(5), $JOURNAL_STREAM)."""
    try:
        status = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"
