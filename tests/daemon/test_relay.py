"""Bytes pass both ways whole and in order, and a slow side holds up nothing but its sender."""

from __future__ import annotations

import select
import socket
from collections.abc import Iterator

import pytest

from ptraced.relay import PlainStream, Relay

BUFFER = memoryview(bytearray(1 << 16))


class Ends:
    """A relay with both outer ends: what a client and what a server would hold."""

    def __init__(self) -> None:
        self.client, near_client = socket.socketpair()
        self.server, near_server = socket.socketpair()
        for end in (self.client, self.server, near_client, near_server):
            end.setblocking(False)
        self.relay = Relay(PlainStream(near_client), PlainStream(near_server))

    def run(self) -> None:
        """Move until nothing can be moved."""
        while True:
            wanted = {
                side.fileno(): (side, self.relay.wanted(side))
                for side in (self.relay.client, self.relay.inner)
            }
            poll = select.poll()
            for fd, (_, events) in wanted.items():
                if events:
                    poll.register(fd, events)
            ready = poll.poll(0)
            if not ready:
                return
            for fd, _ in ready:
                self.relay.move(wanted[fd][0], BUFFER)

    def close(self) -> None:
        self.relay.close()
        self.client.close()
        self.server.close()


@pytest.fixture
def ends() -> Iterator[Ends]:
    made = Ends()
    yield made
    made.close()


def receive(end: socket.socket) -> bytes:
    parts = []
    while True:
        try:
            part = end.recv(1 << 20)
        except BlockingIOError:
            return b"".join(parts)
        if not part:
            return b"".join(parts)
        parts.append(part)


def test_both_ways(ends: Ends) -> None:
    ends.client.send(b"question")
    ends.server.send(b"answer")
    ends.run()
    assert receive(ends.server) == b"question"
    assert receive(ends.client) == b"answer"


def test_a_receiver_that_does_not_read_stops_its_sender_and_loses_nothing(ends: Ends) -> None:
    content = bytes(range(256)) * 16384
    sent = 0
    while True:
        ends.run()
        try:
            sent += ends.server.send(content[sent:])
        except BlockingIOError:
            break
    assert sent < len(content)
    assert not ends.relay.wanted(ends.relay.inner) & select.EPOLLIN
    assert ends.relay.wanted(ends.relay.client) & select.EPOLLOUT

    # The other way is free meanwhile.
    ends.client.send(b"still here")
    ends.run()
    assert receive(ends.server) == b"still here"

    received = b""
    while len(received) < len(content):
        received += receive(ends.client)
        ends.run()
        if sent < len(content):
            sent += ends.server.send(content[sent:])
    assert received == content


def test_all_is_over_when_the_client_has_ended(ends: Ends) -> None:
    ends.client.send(b"last words")
    ends.client.close()
    ends.run()
    assert receive(ends.server) == b"last words"
    assert ends.server.recv(1) == b""
    assert ends.relay.finished


def test_what_the_server_said_last_arrives_before_all_is_over(ends: Ends) -> None:
    ends.server.send(b"answer")
    ends.server.shutdown(socket.SHUT_WR)
    ends.run()
    assert not ends.relay.finished
    assert receive(ends.client) == b"answer"
    assert ends.client.recv(1) == b""

    ends.client.close()
    ends.run()
    assert ends.relay.finished


def test_what_was_sent_before_the_end_arrives_behind_a_full_buffer(ends: Ends) -> None:
    total = 0
    while True:
        ends.run()
        try:
            total += ends.server.send(bytes(50_000))
        except BlockingIOError:
            break
    ends.server.close()
    received = 0
    while ends.relay.wanted(ends.relay.client) != select.EPOLLIN:
        received += len(receive(ends.client))
        ends.run()
    assert received + len(receive(ends.client)) == total


def test_a_client_that_is_gone_is_an_error_once_there_is_something_for_it(ends: Ends) -> None:
    ends.client.close()
    ends.run()
    ends.server.send(b"too late")
    with pytest.raises(BrokenPipeError):
        ends.run()
