"""What a script's *-record file would have perf record: its text is read, never run.

Such files are shell scripts around `perf record` with the options that the script needs, and
"$@" for those of the user. Several of these commands are alternatives: the next one counts where
the events of the one before do not exist.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from ptrace_client.errors import ClientError
from ptrace_client.printing import terminal_safe

# perf's own have some hundred bytes.
_MOST_BYTES: Final = 1 << 16
_BETWEEN_COMMANDS: Final = frozenset("();|&<>")
_USERS_WORDS: Final = re.compile(r"\$[@*\d]|\$\{[@*\d]\}")
# perf record's options with a value that stands in a word of its own, see perf-record(1).
_VALUED_LETTERS: Final = frozenset("eoFcmpturCDGjkwxWM")
_VALUED: Final = frozenset(
    {
        *("event", "filter", "output", "freq", "count", "mmap-pages", "pid", "tid", "uid", "cpu"),
        *("realtime", "call-graph", "branch-filter", "cgroup", "delay", "clockid", "max-size"),
        *("weight-filter", "proc-map-timeout", "switch-max-files", "vmlinux", "clang-path"),
        *("num-thread-synthesize", "control", "affinity", "debuginfod", "setup-filter"),
    }
)
_LONG: Final = {"e": "event", "F": "freq", "c": "count", "g": "call-graph"}


@dataclass
class RecordCommand:
    """A `perf record`: what it says of events. All else is the user's, or the daemon's (-m)."""

    # Selectors, each with its filter if it has one; none means perf's default event.
    events: list[str] = field(default_factory=list)
    call_graph: bool = False
    # Samples a second; occurrences between samples. None where perf's default holds.
    frequency: int | None = None
    period: int | None = None
    # A program chooses the events.
    is_computed: bool = False


def read_record_file(path: Path) -> list[RecordCommand]:
    """Return the `perf record` commands of a file. Raise ClientError where it cannot be read."""
    try:
        with path.open("rb") as file:
            text = file.read(_MOST_BYTES).decode(errors="replace")
    except OSError as error:
        name = terminal_safe(str(path))
        raise ClientError(f"cannot read {name}: {error.strerror}") from None
    return [_command(words) for words in _perf_records(text)]


def _perf_records(text: str) -> Iterator[list[str]]:
    """Yield the words behind each `perf record`."""
    for command in _commands(text):
        for place in range(len(command) - 1):
            name = command[place].rpartition("/")[2]
            if name == "perf" and command[place + 1] == "record":
                yield command[place + 2 :]


def _commands(text: str) -> Iterator[list[str]]:
    for line in text.replace("\\\n", " ").splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars="".join(_BETWEEN_COMMANDS))
        lexer.whitespace_split = True
        words: list[str] = []
        try:
            for word in lexer:
                if word and set(word) <= _BETWEEN_COMMANDS:
                    yield words
                    words = []
                else:
                    words.append(word)
        except ValueError:
            # A quote that ends on another line.
            continue
        yield words


def _command(words: list[str]) -> RecordCommand:
    command = RecordCommand()
    left = [word for word in words if not _USERS_WORDS.fullmatch(word)]
    while left:
        word = left.pop(0)
        if word == "--" or not word.startswith("-"):
            # What perf is to run.
            break
        for name, value in _options(word, left):
            _apply(command, name, value)
    return command


def _options(word: str, left: list[str]) -> Iterator[tuple[str, str]]:
    """Yield the long names and values that a word stands for; "" is no value."""
    if word.startswith("--"):
        name, equals, value = word[2:].partition("=")
        if not equals and name in _VALUED and left:
            value = left.pop(0)
        yield name, value
        return
    letters = word[1:]
    for place, letter in enumerate(letters, start=1):
        name = _LONG.get(letter, letter)
        if letter in _VALUED_LETTERS:
            value = letters[place:].removeprefix("=") or (left.pop(0) if left else "")
            yield name, value
            return
        yield name, ""


def _apply(command: RecordCommand, name: str, value: str) -> None:
    if name == "event":
        if "$" in value or "`" in value:
            command.is_computed = True
        command.events += _events(value)
    elif name == "filter" and command.events:
        command.events[-1] += f"/{value}/"
    elif name == "call-graph":
        command.call_graph = value not in ("no", "none")
    elif name == "freq" and value.isdecimal():
        command.frequency = int(value)
    elif name == "count" and value.isdecimal():
        command.period = int(value)


def _events(value: str) -> list[str]:
    """Split a list of events at its commas, but for those of a PMU's terms; groups come apart."""
    ungrouped = re.sub(r"\}(:\w+)?", "", value).replace("{", "")
    return [name.strip() for name in re.findall(r"(?:[^,/]|/[^/]*/?)+", ungrouped) if name.strip()]
