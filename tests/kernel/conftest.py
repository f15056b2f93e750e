"""A real daemon on a real kernel, and programs whose events can be counted."""

from __future__ import annotations

import contextlib
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from commandline import open_folder
from processes import Calls, Daemon
from sampled import Program

from ptraced.tracefs import Tracefs

HERE = Path(__file__).parent


@pytest.fixture(scope="session", autouse=True)
def _tracefs() -> None:
    """Mounts tracefs, as a daemon that runs as root would: others may not."""
    Tracefs.find()


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


@pytest.fixture
def served() -> Iterator[Callable[[str], Daemon]]:
    """Starts a daemon, which users other than root can reach, with a configuration."""
    with open_folder() as folder, contextlib.ExitStack() as undo:

        def start(config: str) -> Daemon:
            daemon = Daemon(folder, config=config)
            undo.callback(daemon.stop)
            return daemon

        yield start


@pytest.fixture(scope="session")
def calls_binary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    binary = tmp_path_factory.mktemp("calls") / "calls"
    subprocess.run(["gcc", "-O2", "-o", binary, HERE / "calls.c"], check=True)
    return binary


@pytest.fixture(scope="session")
def build(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Compiles a C program of this folder by its name, without optimizing: with frame pointers."""
    directory = tmp_path_factory.mktemp("programs")

    def compile_(name: str) -> Path:
        binary = directory / name
        if not binary.exists():
            command = ["gcc", "-O0", "-pthread", "-o", binary, HERE / f"{name}.c"]
            subprocess.run(command, check=True)
        return binary

    return compile_


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


@pytest.fixture(scope="session")
def samples_binary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    binary = tmp_path_factory.mktemp("samples") / "samples"
    subprocess.run(["gcc", "-O1", "-o", binary, HERE / "samples.c"], check=True)
    return binary


@pytest.fixture
def program(samples_binary: Path) -> Iterator[Program]:
    """The program of samples.c."""
    running = Program(samples_binary)
    yield running
    running.end()
