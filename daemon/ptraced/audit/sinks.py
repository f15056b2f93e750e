"""Where audit lines go: the journal, a file, or the log."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from ptraced import log
from ptraced.audit.file import LineFile
from ptraced.audit.journal import SOCKET, Journal
from ptraced.audit.kinds import Kind
from ptraced.config import Audit as Settings

Facts = Mapping[str, Any]

# syslog(3)
_PRIORITIES = {logging.INFO: "6", logging.WARNING: "4"}


class Sink(Protocol):
    """Takes lines; what they carry is bounded, and its text has no control characters."""

    def write(self, kind: Kind, facts: Facts) -> bool:
        """Write a line; False where it is lost. Raises nothing."""

    def reopen(self) -> None:
        """Go on in a new file, where that applies."""

    def close(self) -> None:
        """Release what the sink holds."""


class FileSink:
    """JSON objects, one a line."""

    def __init__(self, path: Path) -> None:
        self._file = LineFile(path)

    def write(self, kind: Kind, facts: Facts) -> bool:
        # ASCII only: everything else leaves as an escape.
        return self._file.write(json.dumps(facts, default=str).encode() + b"\n")

    def reopen(self) -> None:
        self._file.reopen()

    def close(self) -> None:
        self._file.close()


class JournalSink:
    """Entries with a field for each fact, PTRACED_UID=1000."""

    def __init__(self, path: Path = SOCKET) -> None:
        self._journal = Journal(path)

    def write(self, kind: Kind, facts: Facts) -> bool:
        fields = {
            "MESSAGE": log.printable(_sentence(kind, facts)),
            "MESSAGE_ID": kind.message_id,
            "PRIORITY": _PRIORITIES[kind.level],
            "SYSLOG_IDENTIFIER": "ptraced",
        }
        for name, value in facts.items():
            if name != "time":
                fields[f"PTRACED_{name.upper()}"] = log.printable(_text(value))
        return self._journal.send(fields)

    def reopen(self) -> None:
        """Nothing to do: journald rotates its files itself."""

    def close(self) -> None:
        self._journal.close()


class LogSink:
    """Lines among those of the log."""

    def write(self, kind: Kind, facts: Facts) -> bool:
        more = {f"{name}": _text(value) for name, value in facts.items() if name not in _OF_LOG}
        log.event(f"audit {kind.name}", kind.level, **more)
        return True

    def reopen(self) -> None:
        """Nothing to do: standard error is what it is."""

    def close(self) -> None:
        """Nothing to do."""


# What a line of the log has of its own.
_OF_LOG = ("time", "event")


def open_sinks(settings: Settings) -> list[Sink]:
    """The sinks that a configuration asks for: the log where there is no journal.

    Raises Unavailable where the file cannot be opened.
    """
    sinks: list[Sink] = []
    if settings.journal:
        try:
            sinks.append(JournalSink())
        except OSError:
            pass
    if not sinks:
        sinks.append(LogSink())
    if settings.file is not None:
        sinks.append(FileSink(settings.file))
    return sinks


def _sentence(kind: Kind, facts: Facts) -> str:
    who = facts.get("user") or f"uid {facts.get('uid')}"
    what = facts.get("reason") or facts.get("selectors") or ""
    return f"{kind.name} {who}" + (f": {_text(what)}" if what else "")


def _text(value: object) -> str:
    if isinstance(value, Mapping):
        return " ".join(f"{name}={item}" for name, item in value.items())
    if isinstance(value, Sequence) and not isinstance(value, str):
        return " ".join(map(str, value))
    return str(value)
