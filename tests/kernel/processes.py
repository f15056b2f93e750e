"""The daemon as a process, and a program whose events can be counted."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import grpc
import pytest

from ptrace_client.host import Host, connect

# What any user may do at the daemon of a test that is not about policy.
EVERYTHING = """
[[rule]]
name = "everybody"
users = ["*"]
events = ["*"]
tasks = "all"
uprobes = "all"
stacks = "all"
kernel_addresses = true
remote = true
[[rule]]
name = "administrator"
users = ["root"]
admin = true
"""


class Daemon:
    """A ptraced process that serves until `stop`.

    Everybody may trace everything, unless `config` has rules of its own.
    """

    def __init__(
        self, directory: Path, *arguments: str, config: str = "", prefix: tuple[str, ...] = ()
    ):
        self.socket = directory / "ptraced.sock"
        file = directory / "ptraced.toml"
        rules = "" if "[[rule]]" in config else EVERYTHING
        file.write_text(
            f'[server]\nsocket_mode = "0666"\nstate_dir = "{directory}/state"\n{config}\n{rules}'
        )
        self.log = directory / "log"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [
                    *prefix,
                    sys.executable,
                    "-m",
                    "ptraced.cli",
                    "--config",
                    str(file),
                    "--socket",
                    str(self.socket),
                    *arguments,
                ],
                stderr=log,
            )
        self._wait_until_served()

    def _wait_until_served(self) -> None:
        with grpc.insecure_channel(f"unix:{quote(str(self.socket))}") as channel:
            ready = grpc.channel_ready_future(channel)
            while True:
                try:
                    return ready.result(timeout=0.1)
                except grpc.FutureTimeoutError:
                    if self.process.poll() is not None:
                        pytest.fail(f"ptraced ended: {self.log.read_text()}")

    @property
    def pid(self) -> int:
        return self.process.pid

    def connect(self) -> Host:
        return connect(socket=self.socket)

    def stop(self, number: int = signal.SIGTERM) -> int:
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(timeout=60)


class Calls:
    """The program of calls.c, started and waiting for `make`."""

    def __init__(self, binary: Path, count: int, cpu: int, *more: Path) -> None:
        self.process = subprocess.Popen(
            [binary, str(count), str(cpu), *more],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        self.pid = int(self.process.stdout.readline())

    def make(self) -> None:
        """Make the calls, and return when the last one has been made."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write("go\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline().split()[0] == "done"

    def end(self) -> None:
        self.process.communicate()


@contextmanager
def running(binary: Path, count: int, cpu: int = 1, *more: Path) -> Iterator[Calls]:
    """A program that is called like calls.c, until the end of the context."""
    program = Calls(binary, count, cpu, *more)
    try:
        yield program
    finally:
        program.end()
