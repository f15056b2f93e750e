"""The files of the configuration: which there are, whose they must be, and where a key stands."""

from __future__ import annotations

import difflib
import os
import stat
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from ptraced.errors import TraceError
from ptraced.toml_lines import Lines

# Where rules stand that no file of the host has.
BUILT_IN = "built in"

Key = tuple[str | int, ...]
Parsers = Mapping[str, Callable[[Any], Any]]


class Mistake(NamedTuple):
    """Something wrong in a file; in the order in which they are told."""

    file: int
    line: int
    text: str


@dataclass(frozen=True, slots=True)
class Document:
    """A file that has been read: `name` is what messages call it, `number` its place in order.

    Without a name it is the file that comes with ptraced.
    """

    name: str
    content: dict[str, Any]
    lines: Lines
    number: int = 0

    def place(self, *path: str | int) -> str:
        """Where a key stands, "/etc/ptraced/ptraced.toml:7"."""
        return f"{self.name}:{self.lines.of(*path)}" if self.name else BUILT_IN

    def mistake(self, path: Key, text: str) -> Mistake:
        """What is wrong with a key."""
        return Mistake(self.number, self.lines.of(*path), f"error: {self.place(*path)}: {text}")


def read_documents(path: Path, *, optional: bool = False) -> list[Document]:
    """Read a file, and its drop-ins in the order of their names; raises TraceError.

    Drop-ins of ptraced.toml are ptraced.d/*.toml beside it. An `optional` file may be missing.
    """
    drop_ins, errors = _drop_ins(path)
    documents = []
    for number, each in enumerate([path, *drop_ins]):
        if number == 0 and optional and not os.path.lexists(each):
            continue
        try:
            documents.append(parse_document(_read(each), str(each), number))
        except TraceError as error:
            errors.append(str(error))
    if errors:
        raise TraceError("\n".join(errors))
    return documents


def _drop_ins(path: Path) -> tuple[list[Path], list[str]]:
    """The drop-ins of a file, and what is wrong with their directory."""
    directory = path.with_suffix(".d")
    try:
        names = sorted(name for name in os.listdir(directory) if name.endswith(".toml"))
        # Kubernetes mounts a directory that anyone may write, if it were not read-only.
        read_only = os.statvfs(directory).f_flag & os.ST_RDONLY
        errors = [] if read_only else _access_errors(directory, os.stat(directory))
    except (FileNotFoundError, NotADirectoryError):
        return [], []
    except OSError as error:
        return [], [f"error: cannot read {directory}: {error.strerror}"]
    return [directory / name for name in names if not name.startswith(".")], errors


def parse_document(text: str, name: str, number: int = 0) -> Document:
    """Read TOML; raises TraceError with the place of what is none."""
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise TraceError(f"error: {name}: {error}") from None
    return Document(name, content, Lines(text), number)


def _read(path: Path) -> str:
    try:
        # A FIFO must not keep the daemon waiting.
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            errors = _access_errors(path, os.fstat(file.fileno()))
            if errors:
                raise TraceError("\n".join(errors))
            return file.read().decode()
    except OSError as error:
        raise TraceError(f"error: cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise TraceError(f"error: {path} is not UTF-8 text") from None


def _access_errors(path: Path, status: os.stat_result) -> list[str]:
    """What lets others than root and the daemon's user write the configuration."""
    what = "directory" if stat.S_ISDIR(status.st_mode) else "file"
    if what == "file" and not stat.S_ISREG(status.st_mode):
        return [f"error: {path} is not a regular file"]
    errors = []
    if status.st_uid not in (0, os.geteuid()):
        errors.append(
            f"error: {path} belongs to uid {status.st_uid}, who could allow anything by it: "
            f"chown root {path}"
        )
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        errors.append(
            f"error: {path} may be written by others than its owner, who could allow anything "
            f"by it: chmod go-w {path}"
        )
    return errors


def merged_table(
    documents: Sequence[Document], name: str, parsers: Parsers
) -> tuple[dict[str, Any], list[Mistake]]:
    """The settings that all files together give to a table, and what is wrong with them.

    What a drop-in sets goes before the first file; drop-ins must not differ among themselves.
    """
    settings: dict[str, Any] = {}
    by: dict[str, Document] = {}
    mistakes: list[Mistake] = []
    for document in documents:
        table = document.content.get(name, {})
        if not isinstance(table, dict):
            continue
        found, wrong = parse_table(document, (name,), table, parsers, f"{name}.")
        mistakes += wrong
        for key, value in found.items():
            before = by.get(key)
            if before and before.number and settings[key] != value:
                text = (
                    f"{name}.{key} is {shown(table[key])} here, and "
                    f"{shown(before.content[name][key])} in {before.place(name, key)}"
                )
                mistakes.append(document.mistake((name, key), text))
            settings[key], by[key] = value, document
    return settings, mistakes


def parse_table(
    document: Document, path: Key, table: dict[str, Any], parsers: Parsers, prefix: str
) -> tuple[dict[str, Any], list[Mistake]]:
    """The settings of a table of one file, and what is wrong; `prefix` goes before keys."""
    settings, mistakes = {}, []
    for key, value in table.items():
        if key not in parsers:
            what = f"is not a setting{did_you_mean(key, parsers)}"
        else:
            try:
                settings[key] = parsers[key](value)
                continue
            except ValueError as error:
                what = f"{error}, not {shown(value)}"
        mistakes.append(document.mistake((*path, key), f"{prefix}{key} {what}"))
    return settings, mistakes


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return " (did you mean 'x'?)" for the known name most like `name`, "" if none is."""
    near = difflib.get_close_matches(name, list(known), n=1)
    return f" (did you mean '{near[0]}'?)" if near else ""


def shown(value: Any) -> str:
    """A value as the file may have it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f"[{', '.join(map(shown, value))}]"
    return f'"{value}"' if isinstance(value, str) else str(value)
