"""What systemd is told, on a socket as it would have it."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from ptraced.service_manager import ServiceManager

# Seconds that something may take which happens at once.
SOON = 60.0


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(str(tmp_path / "notify"))
        receiver.settimeout(SOON)
        yield receiver


def environment(systemd: socket.socket, **more: str) -> dict[str, str]:
    return {"NOTIFY_SOCKET": systemd.getsockname(), **more}


def test_ready_and_stopping_are_told(systemd: socket.socket) -> None:
    given = environment(systemd)
    manager = ServiceManager(given)

    with manager.serving(lambda _: True):
        assert systemd.recv(4096) == b"READY=1"
    assert systemd.recv(4096) == b"STOPPING=1"
    # Processes that the daemon starts are not to speak for it.
    assert given == {}


def test_an_abstract_socket_is_one_too() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind("\0ptraced-test")
        receiver.settimeout(SOON)
        ServiceManager({"NOTIFY_SOCKET": "@ptraced-test"}).notify("STATUS=fine")
        assert receiver.recv(4096) == b"STATUS=fine"


def test_a_reload_tells_when_it_began_and_that_it_is_over(systemd: socket.socket) -> None:
    with ServiceManager(environment(systemd)).reloading():
        state, at = systemd.recv(4096).decode().split("\n")
        assert state == "RELOADING=1"
        assert at.removeprefix("MONOTONIC_USEC=").isdecimal()
    assert systemd.recv(4096) == b"READY=1"


def test_the_watchdog_is_told_only_while_the_reader_answers(systemd: socket.socket) -> None:
    answers = [True, True, False, False]
    asked = []

    def responds(seconds: float) -> bool:
        asked.append(seconds)
        if not answers:
            # Enough was asked: from now on nothing is to be told.
            return False
        return answers.pop(0)

    manager = ServiceManager(environment(systemd, WATCHDOG_USEC="40000"))
    with manager.serving(responds):
        assert [systemd.recv(4096) for _ in range(3)] == [b"READY=1", b"WATCHDOG=1", b"WATCHDOG=1"]
        while len(asked) < 5:
            os.sched_yield()
    assert systemd.recv(4096) == b"STOPPING=1"
    assert set(asked) == {0.01}


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"WATCHDOG_USEC": "40000"},
        {"NOTIFY_SOCKET": "/nowhere", "WATCHDOG_USEC": "40000", "WATCHDOG_PID": "1"},
        {"NOTIFY_SOCKET": "/nowhere", "WATCHDOG_USEC": "often"},
    ],
    ids=["none", "no socket", "another process", "no number"],
)
def test_without_a_service_manager_nobody_is_told(given: dict[str, str]) -> None:
    manager = ServiceManager(dict(given))
    assert manager.watchdog == 0.0
    with manager.serving(lambda _: True):
        pass
