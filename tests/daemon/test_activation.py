"""Sockets that systemd passes on are told apart by what they are."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from ptraced.activation import Activation, take_sockets
from ptraced.errors import Unavailable

# Descriptors far from those that tests have open; systemd's own begin at 3.
FIRST = 700


def passed(*sockets: socket.socket, pid: int | None = None) -> dict[str, str]:
    """The environment in which copies of these are passed on."""
    for number, one in enumerate(sockets, FIRST):
        os.dup2(one.fileno(), number)
    pid = os.getpid() if pid is None else pid
    return {"LISTEN_PID": str(pid), "LISTEN_FDS": str(len(sockets)), "LISTEN_FDNAMES": "a:b"}


def test_a_unix_socket_and_a_tcp_socket(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as local, socket.create_server(("127.0.0.1", 0)) as tcp:
        local.bind(str(tmp_path / "s"))
        local.listen()
        environment = passed(tcp, local)
        given = take_sockets(environment, FIRST)
        assert given.local is not None
        assert given.tls is not None
        with given.local, given.tls:
            assert given.local.getsockname() == str(tmp_path / "s")
            assert given.tls.getsockname() == tcp.getsockname()
            assert not os.get_inheritable(given.local.fileno())
    # Children that look do not think that they are for them.
    assert environment == {}


@pytest.mark.parametrize(
    "environment", [{}, {"LISTEN_PID": "1", "LISTEN_FDS": "1"}, {"LISTEN_FDS": "1"}]
)
def test_what_is_for_others_is_left_alone(environment: dict[str, str]) -> None:
    assert take_sockets(environment, FIRST) == Activation()


def test_two_of_a_kind_are_refused() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as one,
        socket.create_server(("127.0.0.1", 0)) as two,
        pytest.raises(Unavailable, match="two sockets for tls users"),
    ):
        take_sockets(passed(one, two), FIRST)


def test_what_does_not_listen_is_refused() -> None:
    with (
        socket.socket(socket.AF_UNIX) as silent,
        pytest.raises(Unavailable, match=f"descriptor {FIRST} that systemd passes is no"),
    ):
        take_sockets(passed(silent), FIRST)


def test_a_unix_socket_without_a_file_is_refused() -> None:
    with socket.socket(socket.AF_UNIX) as abstract:
        abstract.bind(f"\0ptraced-test-{os.getpid()}")
        abstract.listen()
        environment = passed(abstract)
        with pytest.raises(Unavailable, match="with a path or port"):
            take_sockets(environment, FIRST)
