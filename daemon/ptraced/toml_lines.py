"""On which line of a TOML text each key stands, which tomllib does not tell."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from typing import Any

# What a statement is made of, as far as its beginning and end depend on it (TOML 1.0: a
# text in three quotes may end with up to two quotes of its own).
_TOKEN = re.compile(
    r'"""(?:[^\\]|\\.)*?"""+|'
    r"'''.*?'''+|"
    r'"(?:[^"\\]|\\.)*"|'
    r"'[^']*'|"
    r"#[^\n]*|"
    r".",
    re.DOTALL,
)

Path = tuple[str | int, ...]


class Lines:
    """The lines of a valid TOML text: `Lines(text).of("rule", 0, "tasks")`.

    Elements of an array of tables are numbered from 0.
    """

    def __init__(self, text: str) -> None:
        self._lines: dict[Path, int] = {(): 1}
        self._lengths: dict[Path, int] = {}
        table: Path = ()
        for line, statement in _statements(text):
            if statement.startswith("[["):
                table = self._resolved(_key(statement[2:-2]))
                number = self._lengths.get(table, 0)
                self._lengths[table] = number + 1
                table = (*table, number)
                self._note(table, line)
            elif statement.startswith("["):
                table = self._resolved(_key(statement[1:-1]))
                self._note(table, line)
            else:
                self._note((*table, *_key(statement)), line)

    def of(self, *path: str | int) -> int:
        """The line of a key, or of what it is in: inline tables and arrays count as one line."""
        while path not in self._lines:
            path = path[:-1]
        return self._lines[path]

    def _note(self, path: Path, line: int) -> None:
        for length in range(1, len(path) + 1):
            self._lines.setdefault(path[:length], line)

    def _resolved(self, key: Path) -> Path:
        """A header's name, where arrays of tables stand for their last element."""
        path: Path = ()
        for part in key[:-1]:
            path = (*path, part)
            if path in self._lengths:
                path = (*path, self._lengths[path] - 1)
        return (*path, key[-1])


def _statements(text: str) -> Iterator[tuple[int, str]]:
    """The headers, and the keys in front of "=", each with its line."""
    line, depth, start, key = 1, 0, 1, ""
    wanted = True
    for match in _TOKEN.finditer(text + "\n"):
        token = match[0]
        if token == "\n" and depth == 0:
            if key.strip().startswith("["):
                yield start, key.strip()
            key, wanted = "", True
        elif wanted and token == "=":
            yield start, key.strip()
            key, wanted = "", False
        elif token in ("[", "{", "]", "}"):
            depth += 1 if token in "[{" else -1
        if wanted and token[0] != "#":
            if not key.strip():
                start = line
            key += token
        line += token.count("\n")


def _key(text: str) -> Path:
    """The parts of a key as TOML writes it, `a."b.c"`."""
    parts: list[str] = []
    value: Any = tomllib.loads(f"{text} = 0")
    while isinstance(value, dict):
        ((part, value),) = value.items()
        parts.append(part)
    return tuple(parts)
