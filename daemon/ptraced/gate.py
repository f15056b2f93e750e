"""The event loop of a front process: who comes in, and the bytes to gRPC and back.

It is a process of its own, since its few system calls per 200 KiB would each have to wait for the
daemon's interpreter, which slows a stream to a fifth. It reads no more of what it carries than
the first few bytes: no connection reaches gRPC before it has begun to speak HTTP/2.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import time
from collections import Counter
from dataclasses import dataclass, field

from ptraced import http2
from ptraced.connection_limits import ConnectionLimits, Connections
from ptraced.front_events import Events
from ptraced.peer import Credentials, abstract_name
from ptraced.relay import BUFFER_BYTES, PlainStream, Relay, Stream

# Seconds: what clients get to read the end of their streams when the daemon has ended, what
# refused ones get to read why, and between looks at who was late.
_DRAIN = 2.0
_FAREWELL = 2.0
_SWEEP = 1.0

# Connections accepted in a row before others are served.
_ACCEPTED = 256
# Refused clients that are told why at the same time, and those of one user between two sweeps: to
# close a connection takes a tenth of the time, and who comes too often must not fill the backlog.
_REFUSED = 64
_TOLD_WHY = 8
# Connections of one user between two sweeps, for each of those that it may have at once.
_ARRIVALS = 4
# Of a connection that is not let in yet; more than a record of TLS.
_GREETING_BYTES = 65536

_EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


@dataclass(frozen=True, slots=True)
class Settings:
    """Of a gate: where gRPC listens, and what it grants. `patience` is in seconds."""

    inner: str
    limits: ConnectionLimits
    patience: float


@dataclass(slots=True, eq=False)
class Guest:
    """A connection that is not let in: it has said too little yet, or it is refused.

    `who` is None until that is known; `counted` where the limits know of it.
    """

    stream: Stream
    who: Credentials | None
    deadline: float
    address: str = ""
    certificate: str = ""
    counted: bool = False
    received: bytearray = field(default_factory=bytearray)
    refusal: http2.Refusal | None = None


@dataclass(slots=True, eq=False)
class Visit:
    """A connection that was let in."""

    relay: Relay
    who: Credentials
    since: float


class Gate:
    """Accepts connections on `listener` and relays each to gRPC.

    `life` is a descriptor whose end is the daemon's. A subclass says who connects.
    """

    def __init__(
        self, listener: socket.socket, settings: Settings, events: Events, life: int
    ) -> None:
        self._listener = listener
        self._settings = settings
        self._events = events
        self._life = life
        self._buffer = memoryview(bytearray(BUFFER_BYTES))
        self._connections = Connections(settings.limits)
        self._guests: dict[int, Guest] = {}
        self._refused: list[Guest] = []
        self._arrivals: Counter[int] = Counter()
        self._told_why: Counter[int] = Counter()
        self._visits: dict[int, tuple[Visit, Stream]] = {}
        self._waiting: dict[int, int] = {}
        self._epoll = select.epoll()
        self._swept = time.monotonic()
        # The folder is the current one: see front_process.py.
        self._inner = os.path.basename(settings.inner)

    def run(self) -> None:
        """Serve until the daemon ends, then until its last bytes are delivered."""
        self._wait_for(self._life, select.EPOLLIN)
        self._wait_for(self._listener.fileno(), select.EPOLLIN)
        while self._life in self._waiting:
            self._serve(self.idle_seconds())
            self._sweep()
        self._wait_for(self._listener.fileno(), 0)
        # Another daemon may take the socket while the last bytes are delivered.
        self._listener.close()
        for guest in list(self._guests.values()):
            self._dismiss(guest)
        deadline = time.monotonic() + _DRAIN
        while self._visits and (left := deadline - time.monotonic()) > 0:
            self._serve(left)

    def arrive(self, connection: socket.socket, address: object) -> Guest | None:
        """A connection as a guest, refused perhaps; None where it was closed."""
        raise AssertionError("a subclass says who connects")

    def identify(self, guest: Guest) -> str:
        """Say and count who a guest is of whom that was not known; a reason where it is refused."""
        raise AssertionError("a subclass says who connects")

    def leave(self, guest_or_visit: Guest | Visit) -> None:
        """Note that a connection is gone."""

    def look_around(self) -> None:
        """Do what is to be done from time to time."""

    def hear(self, line: bytes) -> None:
        """Take a message of the daemon."""

    def idle_seconds(self) -> float | None:
        """How long to wait for something to happen; None: for ever."""
        accepting = self._listener.fileno() in self._waiting
        if accepting and not self._guests and not self._events.waiting and not self._arrivals:
            return None
        return min(_SWEEP, self._settings.patience / 2)

    def new_guest(
        self, stream: Stream, who: Credentials | None, address: str = "", counted: bool = False
    ) -> Guest:
        """A guest whose time starts now."""
        return Guest(stream, who, time.monotonic() + self._settings.patience, address, "", counted)

    def count(self, who: Credentials) -> str:
        """Count a connection; a reason where there are too many of that user."""
        return self.too_often(who) or self._connections.enter(who.uid)

    def too_often(self, who: Credentials) -> str:
        """A reason where a user has come very often just now."""
        self._arrivals[who.uid] += 1
        most = _ARRIVALS * self._settings.limits.per_user
        if who.uid and self._arrivals[who.uid] > most:
            return f"too many connections of uid {who.uid} in a second (limit {most})"
        return ""

    def is_told_why(self, who: Credentials) -> bool:
        """Whether a refused user is told the reason, or has been often enough."""
        self._told_why[who.uid] += 1
        return self._told_why[who.uid] <= _TOLD_WHY

    def refuse(self, guest: Guest, reason: str, status: int = http2.RESOURCE_EXHAUSTED) -> None:
        """Tell the client, with a gRPC status, and the daemon why it is not let in."""
        self._tell_refused(guest, reason)
        guest.refusal = http2.Refusal(status, reason)
        self._see_out(guest)

    def refused(self, who: Credentials | None, reason: str, address: str = "") -> None:
        """Tell the daemon that a connection was closed at once."""
        self._events.refused(who, address, reason)

    def hang_up(self, guest: Guest) -> None:
        """Close a connection, in a way that lets the client read what it was sent.

        To close a socket with something unread would take that back.
        """
        guest.refusal = http2.Refusal(http2.PERMISSION_DENIED, "")
        guest.refusal.finished = True
        self._see_out(guest)
        try:
            guest.stream.end()
        except OSError:
            self._dismiss(guest)

    def unidentified(self) -> list[Guest]:
        """The guests who have not said yet who they are."""
        return [g for g in self._guests.values() if g.who is None and not g.refusal]

    def dismiss(self, guest: Guest, reason: str) -> None:
        """Close the connection of a guest, and tell the daemon why."""
        self._tell_refused(guest, reason)
        self._dismiss(guest)

    def visits(self) -> list[Visit]:
        """All connections that were let in."""
        return [visit for visit, side in self._visits.values() if side is visit.relay.client]

    def end_visit(self, visit: Visit, reason: str = "") -> None:
        """Break a connection off."""
        for side in (visit.relay.client, visit.relay.inner):
            self._wait_for(side.fileno(), 0)
            del self._visits[side.fileno()]
        visit.relay.close()
        self._connections.leave(visit.who.uid)
        self.leave(visit)
        self._events.left(visit.who, visit.relay, time.monotonic() - visit.since, reason)

    def _serve(self, timeout: float | None) -> None:
        for fd, _ in self._epoll.poll(timeout):
            if fd == self._life:
                self._listen_to_daemon()
            elif fd == self._listener.fileno():
                self._accept()
            elif fd in self._visits:
                self._move(*self._visits[fd])
            elif fd in self._guests:
                self._greet(self._guests[fd])

    def _listen_to_daemon(self) -> None:
        line = os.read(self._life, 1 << 20)
        if line:
            self.hear(line)
        else:
            self._wait_for(self._life, 0)

    def _accept(self) -> None:
        for _ in range(_ACCEPTED):
            try:
                connection, address = self._listener.accept()
            except OSError as error:
                if error.errno in _EXHAUSTED:
                    # Not asked again before the next sweep.
                    self._wait_for(self._listener.fileno(), 0)
                return
            guest = self.arrive(connection, address)
            if guest is not None:
                fd = guest.stream.fileno()
                if fd >= 0:
                    self._guests[fd] = guest
                    self._wait_for(fd, guest.stream.read_event)

    def _greet(self, guest: Guest) -> None:
        try:
            size = guest.stream.read(self._buffer[:_GREETING_BYTES])
        except OSError as error:
            self.failed(guest, error)
            return
        if size is None:
            self._wait_for(guest.stream.fileno(), guest.stream.read_event)
        elif not size:
            self._dismiss(guest)
        elif guest.refusal is not None:
            self._farewell(guest, self._buffer[:size])
        else:
            self._take(guest, self._buffer[:size])

    def failed(self, guest: Guest, error: OSError) -> None:
        """A guest whose connection cannot be read."""
        self._dismiss(guest)

    def _take(self, guest: Guest, content: memoryview) -> None:
        """Take the first bytes of a guest, and let it in when they are enough."""
        if guest.who is None and (reason := self.identify(guest)):
            status = http2.PERMISSION_DENIED if guest.who is None else http2.RESOURCE_EXHAUSTED
            self.refuse(guest, reason, status)
        if guest.refusal is not None:
            self._farewell(guest, content)
            return
        guest.received += content
        begun = http2.begins(guest.received)
        if begun is False:
            self._tell_refused(guest, "not HTTP/2")
            self._dismiss(guest)
        elif begun:
            self._let_in(guest)

    def _farewell(self, guest: Guest, content: memoryview) -> None:
        assert guest.refusal is not None
        if guest.refusal.finished:
            return
        try:
            answer = guest.refusal.answer(content)
            if answer and guest.stream.write(memoryview(answer)) < len(answer):
                # It reads nothing, not even as much.
                self._dismiss(guest)
            elif guest.refusal.finished:
                guest.stream.end()
        except (OSError, ValueError):
            self._dismiss(guest)

    def _let_in(self, guest: Guest) -> None:
        assert guest.who is not None
        try:
            inner = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        except OSError:
            # The last descriptor went to the client, who tries again.
            self._dismiss(guest)
            return
        try:
            inner.bind(abstract_name(guest.who))
            inner.connect(self._inner)
        except OSError:
            # gRPC is not there any more, or its backlog is full: clients try again.
            inner.close()
            self._dismiss(guest)
            return
        del self._guests[guest.stream.fileno()]
        relay = Relay(guest.stream, PlainStream(inner), bytes(guest.received))
        visit = Visit(relay, guest.who, time.monotonic())
        for side in (relay.client, relay.inner):
            self._visits[side.fileno()] = (visit, side)
        self._events.entered(visit.who)
        self._update(relay)

    def _move(self, visit: Visit, side: Stream) -> None:
        relay = visit.relay
        try:
            relay.move(side, self._buffer)
        except OSError:
            self.end_visit(visit)
            return
        if relay.finished:
            self.end_visit(visit)
        else:
            self._update(relay)

    def _update(self, relay: Relay) -> None:
        for side in (relay.client, relay.inner):
            self._wait_for(side.fileno(), relay.wanted(side))

    def _sweep(self) -> None:
        """Dismiss guests that are late, from time to time."""
        now = time.monotonic()
        if now - self._swept < min(_SWEEP, self._settings.patience / 2):
            return
        self._swept = now
        self._arrivals.clear()
        self._told_why.clear()
        self._wait_for(self._listener.fileno(), select.EPOLLIN)
        for guest in [guest for guest in self._guests.values() if guest.deadline <= now]:
            if guest.refusal is None:
                self._tell_refused(guest, f"no HTTP/2 within {self._settings.patience:g} s")
            self._dismiss(guest)
        self._events.flush()
        self.look_around()

    def _dismiss(self, guest: Guest) -> None:
        self._uncount(guest)
        fd = guest.stream.fileno()
        self._wait_for(fd, 0)
        self._guests.pop(fd, None)
        if guest in self._refused:
            self._refused.remove(guest)
        self.leave(guest)
        guest.stream.close()

    def _tell_refused(self, guest: Guest, reason: str) -> None:
        self._events.refused(guest.who, guest.address, reason, guest.certificate)

    def _see_out(self, guest: Guest) -> None:
        """Give a guest some time to read its refusal, and the place of none who is let in."""
        self._uncount(guest)
        guest.deadline = time.monotonic() + _FAREWELL
        self._refused.append(guest)
        if len(self._refused) > _REFUSED:
            self._dismiss(self._refused[0])

    def _uncount(self, guest: Guest) -> None:
        if guest.counted and guest.who is not None:
            self._connections.leave(guest.who.uid)
            guest.counted = False

    def _wait_for(self, fd: int, events: int) -> None:
        """Wait for some events of a descriptor; for none, leave it out: epoll tells hang-ups."""
        before = self._waiting.get(fd, 0)
        if events == before:
            return
        if not events:
            self._epoll.unregister(fd)
            del self._waiting[fd]
            return
        if before:
            self._epoll.modify(fd, events)
        else:
            self._epoll.register(fd, events)
        self._waiting[fd] = events
