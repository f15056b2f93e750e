"""What the harness knows about a tool: how to start it, when it traces, how to stop it."""

from __future__ import annotations

import json
import signal
import subprocess
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from processes import Account, wait_for_end

# How long a tool may take to start, or to end with what it holds delivered, seconds.
PATIENCE = 60.0
HANDLERS = Path(__file__).with_name("handlers")


@dataclass(frozen=True)
class Summary:
    """What a tool says at its end: its counts, and whatever else a handler tells."""

    count: int
    facts: dict[str, Any]


class Run(ABC):
    """A started tool. Leaving the context kills what has not ended."""

    def __init__(self) -> None:
        self._processes: list[subprocess.Popen[str]] = []
        self._messages = tempfile.TemporaryDirectory(prefix="bench-messages-")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for process in self._processes:
            process.kill()
            process.wait()
            for stream in (process.stdin, process.stdout):
                if stream is not None:
                    stream.close()
        self._messages.cleanup()

    def pids(self) -> list[int]:
        """The tool's processes, without their children."""
        return [process.pid for process in self._processes]

    @abstractmethod
    def wait_until_traced(self) -> None:
        """Wait until events are traced; raises RuntimeError where the tool fails instead."""

    @abstractmethod
    def summary(self) -> Summary:
        """What the ended tool has printed."""

    def finish(self, account: Account) -> None:
        """Have the tool deliver what it holds and end, on the account's cost."""
        self._processes[0].send_signal(signal.SIGINT)
        for process in self._processes:
            wait_for_end(process.pid, account, PATIENCE)

    def spawn(self, command: Sequence[str | Path], **options: Any) -> subprocess.Popen[str]:
        """Start a process of the tool; its output is read, its messages are kept."""
        with self._messages_of(len(self._processes)).open("w") as messages:
            process = subprocess.Popen(
                command,
                stdout=options.pop("stdout", subprocess.PIPE),
                stderr=messages,
                text=True,
                **options,
            )
        self._processes.append(process)
        return process

    def _messages_of(self, number: int) -> Path:
        return Path(self._messages.name) / str(number)

    def messages(self) -> str:
        """What the tool's processes wrote to standard error."""
        numbers = range(len(self._processes))
        return "".join(self._messages_of(number).read_text() for number in numbers)

    def failure(self, what: str) -> RuntimeError:
        """An error that tells what the tool's processes said."""
        return RuntimeError(f"{what}\n{self.messages()}")

    def expect(self, process: subprocess.Popen[str], wanted: str) -> None:
        """Read lines until `wanted` comes."""
        assert process.stdout is not None
        for line in process.stdout:
            if line == f"{wanted}\n":
                return
        raise self.failure(f"{process.args!r} ended before it said {wanted!r}")

    def last_line(self, process: subprocess.Popen[str]) -> dict[str, Any]:
        """What the handler of an ended process printed last, which is JSON; {} for nothing."""
        assert process.stdout is not None
        lines = process.stdout.read().splitlines()
        facts: dict[str, Any] = json.loads(lines[-1]) if lines and lines[-1][:1] == "{" else {}
        return facts

    def counted(self, process: subprocess.Popen[str]) -> Summary:
        """The summary of a handler that has counted its events."""
        facts = self.last_line(process)
        if "count" not in facts:
            raise self.failure(f"{process.args!r} ended without a count")
        return Summary(facts.pop("count"), facts)


class Tool(ABC):
    """A tool with one handler."""

    name: str
    handler: str
    # Calls that the producer makes for a run at full speed.
    calls: int

    @abstractmethod
    def start(self) -> Run:
        """Start the tool."""
