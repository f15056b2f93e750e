"""The files of the configuration, as far as that does not depend on what the settings mean."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from ptraced.errors import TraceError
from ptraced.toml_lines import Lines


class Mistake(NamedTuple):
    """Something wrong in a file; in the order in which they are told."""

    file: int
    line: int
    text: str


@dataclass(frozen=True, slots=True)
class Document:
    """A file that has been read: `name` is what messages call it, `number` its place in order."""

    name: str
    content: dict[str, Any]
    lines: Lines
    number: int = 0

    def place(self, *path: str | int) -> str:
        """Where a key stands, "/etc/ptraced/ptraced.toml:7"."""
        return f"{self.name}:{self.lines.of(*path)}"

    def mistake(self, path: tuple[str | int, ...], text: str) -> Mistake:
        """What is wrong with a key."""
        return Mistake(self.number, self.lines.of(*path), f"error: {self.place(*path)}: {text}")


def parse_document(text: str, name: str, number: int = 0) -> Document:
    """Read TOML; raises TraceError with the place of what is none."""
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise TraceError(f"error: {name}: {error}") from None
    return Document(name, content, Lines(text), number)


def read_document(path: Path, number: int = 0) -> Document:
    """Read a file; raises TraceError where it cannot be read."""
    try:
        text = path.read_text()
    except OSError as error:
        raise TraceError(f"error: cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise TraceError(f"error: {path} is not UTF-8 text") from None
    return parse_document(text, str(path), number)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return " (did you mean 'x'?)" for the known name most like `name`, "" if none is."""
    near = difflib.get_close_matches(name, list(known), n=1)
    return f" (did you mean '{near[0]}'?)" if near else ""


def shown(value: Any) -> str:
    """A value as the file may have it."""
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else str(value)
