"""The producer of events: producer.c, compiled and run."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

# What the producer's calls hit, and nothing else on a quiet host does.
EVENT = "syscalls:sys_enter_getppid"
# The producer's CPU; all tools run on CONSUMER_CPU.
PRODUCER_CPU = 1
CONSUMER_CPU = 0


@dataclass(frozen=True)
class Produced:
    """What a producer did: calls made, and ns from before the first to after the last."""

    calls: int
    ns: int


class Producer:
    """A compiled producer; each call of `run` is a process of its own."""

    def __init__(self, directory: Path) -> None:
        """Compile producer.c into `directory`; raise CalledProcessError where that fails."""
        self._program = directory / "producer"
        source = Path(__file__).with_name("producer.c")
        subprocess.run(["cc", "-O2", "-Wall", "-o", self._program, source], check=True)

    def calls(self, count: int) -> Produced:
        """Make `count` calls at full speed."""
        return self._run("calls", str(count))

    def paced(self, count: int, per_second: float) -> Produced:
        """Make `count` calls, `per_second` of them a second."""
        return self._run("rate", str(count), str(per_second))

    def _run(self, *arguments: str) -> Produced:
        with self.waiting(*arguments) as process:
            answer, _ = process.communicate("\n")
        calls, ns = answer.split()
        return Produced(int(calls), int(ns))

    @contextmanager
    def waiting(self, *arguments: str) -> Iterator[subprocess.Popen[str]]:
        """Start a producer that waits for a line before its first call; kill it at the end."""
        process = subprocess.Popen(
            [self._program, str(PRODUCER_CPU), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        with process:
            try:
                if process.stdout.readline() != "ready\n":
                    raise RuntimeError("the producer did not start")
                yield process
            finally:
                process.kill()
