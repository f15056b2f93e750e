"""Probes of programs and libraries on a real kernel: what they see of programs that we know."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from processes import Daemon
from streams import events, read_to_end

from ptrace_client.host import Host
from ptrace_proto import ptrace_pb2 as pb

HERE = Path(__file__).parent
LIBC = "/lib/x86_64-linux-gnu/libc.so.6"

pytestmark = pytest.mark.needs_kernel("uprobes")


class Waiting:
    """A program that says its process id, and goes on when it is told to."""

    def __init__(self, *command: str | Path) -> None:
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self.process.stdout is not None
        self.pid = int(self.process.stdout.readline())

    def go(self) -> None:
        self.process.communicate(b"go\n")


@pytest.fixture
def host(daemon: Daemon) -> Iterator[Host]:
    with daemon.connect() as connected:
        yield connected


@pytest.fixture
def waiting() -> Iterator[Callable[..., Waiting]]:
    started: list[Waiting] = []

    def start(*command: str | Path) -> Waiting:
        started.append(Waiting(*command))
        return started[-1]

    yield start
    for program in started:
        program.process.kill()
        program.process.communicate()


def compiled(source: str, target: Path, *options: str) -> Path:
    compiler = "g++" if source.endswith(".cc") else "gcc"
    subprocess.run([compiler, *options, "-o", target, HERE / source], check=True)
    return target


@pytest.fixture(scope="module", params=["-O0", "-O2"])
def probed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program of probed.c with debug information."""
    folder = tmp_path_factory.mktemp("probed")
    return compiled("probed.c", folder / "probed", "-g", request.param)


@pytest.fixture(scope="module")
def stripped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, with symbols but without debug information."""
    return compiled("probed.c", tmp_path_factory.mktemp("plain") / "probed", "-O2")


def traced(
    host: Host,
    selectors: str | Sequence[str],
    work: Callable[[], object],
    pids: Sequence[int] = (),
) -> list[dict[str, object]]:
    """The own fields of the events that happen during the work, and their names."""
    texts = [selectors] if isinstance(selectors, str) else selectors
    request = pb.TraceRequest(selectors=texts, scope=pb.Scope(pids=pids))
    with host.open(request) as stream:
        work()
        stream.stop()
        found = events(stream, read_to_end(stream))
    return [
        {
            name: value
            for name, value in event.items()
            if name in ("_event", "_pid") or not name.startswith(("_", "common_"))
        }
        for event in found
    ]


def own(found: Sequence[dict[str, object]]) -> list[dict[str, object]]:
    """The events without what differs from run to run."""
    return [
        {name: value for name, value in event.items() if name not in ("ip", "_pid", "_event")}
        for event in found
    ]


def test_arguments_have_their_names_and_types(
    host: Host, probed: Path, waiting: Callable[..., Waiting]
) -> None:
    program = waiting(probed)

    found = traced(host, f'uprobe:narrow@"{probed}"', program.go)

    assert own(found) == [{"a": -5, "b": 65000, "c": True, "d": 7}] * 3
    assert {event["_pid"] for event in found} == {program.pid}
    assert {event["_event"] for event in found} == {"uprobe:narrow"}


def test_arguments_between_floats_structures_and_on_the_stack(
    host: Host, probed: Path, waiting: Callable[..., Waiting]
) -> None:
    found = traced(host, f'uprobe:mixed@"{probed}"//str=text/', waiting(probed).go)

    assert own(found) == [
        {"a": number, "text": "a text", "d": 4, "e": -5, "f": 1 << 33, "g": -7}
        for number in (1, 2, 3)
    ]


def test_a_structure_that_is_returned_in_memory_shifts_no_argument(
    host: Host, probed: Path, waiting: Callable[..., Waiting]
) -> None:
    found = traced(host, f'uprobe:large@"{probed}"', waiting(probed).go)

    assert own(found) == [{"a": -number, "b": 4_000_000_000} for number in (1, 2, 3)]
