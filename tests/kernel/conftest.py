"""A real daemon on a real kernel, and programs whose events can be counted."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest

from ptrace_client.host import Host, connect

HERE = Path(__file__).parent


class Daemon:
    """A ptraced process that serves until `stop`."""

    def __init__(
        self, directory: Path, *arguments: str, config: str = "", prefix: tuple[str, ...] = ()
    ):
        self.socket = directory / "ptraced.sock"
        file = directory / "ptraced.toml"
        file.write_text(
            f'[server]\nsocket_mode = "0666"\nstate_dir = "{directory}/state"\n{config}'
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
        with grpc.insecure_channel(f"unix:{self.socket}") as channel:
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

    def descriptors(self) -> int:
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def threads(self) -> int:
        return len(os.listdir(f"/proc/{self.pid}/task"))

    def stop(self, number: int = signal.SIGTERM) -> int:
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(timeout=60)


@pytest.fixture(scope="session")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon that the tests of a run share."""
    running = Daemon(tmp_path_factory.mktemp("daemon"))
    yield running
    assert running.stop() == 0


@pytest.fixture
def own_daemon(tmp_path: Path) -> Iterator[Callable[..., Daemon]]:
    """Starts daemons that only one test uses, and that it may stop or kill."""
    started: list[Daemon] = []

    def start(**options: object) -> Daemon:
        directory = tmp_path / f"daemon{len(started)}"
        directory.mkdir()
        started.append(Daemon(directory, **options))  # type: ignore[arg-type]
        return started[-1]

    yield start
    for daemon in started:
        daemon.stop(signal.SIGKILL)


class Calls:
    """The program of calls.c, started and waiting for `make`."""

    def __init__(self, binary: Path, count: int, cpu: int) -> None:
        self.process = subprocess.Popen(
            [binary, str(count), str(cpu)],
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
        assert self.process.stdout.readline() == "done\n"

    def end(self) -> None:
        self.process.communicate()


@pytest.fixture(scope="session")
def calls_binary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    binary = tmp_path_factory.mktemp("calls") / "calls"
    subprocess.run(["gcc", "-O2", "-o", binary, HERE / "calls.c"], check=True)
    return binary


@pytest.fixture
def calls(calls_binary: Path) -> Iterator[Callable[..., Calls]]:
    """Starts programs that make a given number of getppid calls on a CPU."""
    started: list[Calls] = []

    def start(count: int, cpu: int = 0) -> Calls:
        started.append(Calls(calls_binary, count, cpu))
        return started[-1]

    yield start
    for program in started:
        if program.process.poll() is None:
            program.end()
