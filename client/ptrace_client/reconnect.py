"""Option --reconnect: an equal session in place of one whose connection broke off."""

from __future__ import annotations

import math
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import click

from ptrace_client.endpoint import find_endpoint
from ptrace_client.errors import ClientError
from ptrace_client.options import Place
from ptrace_client.printing import terminal_safe
from ptrace_proto import ptrace_pb2 as pb

if TYPE_CHECKING:
    from ptrace_client.host import Host
    from ptrace_client.runner import EventStream

# Seconds between attempts: the first, and the longest.
_FIRST_WAIT: Final = 0.1
_LONGEST_WAIT: Final = 5.0
# So often does the daemon tell how far the stream has got, ns: what is missed is told as exactly.
MARK_INTERVAL: Final = 100_000_000


def reconnect_option() -> click.Parameter:
    """Declare --reconnect[=SECONDS]; command lines go through spelled_out() first."""
    return click.Option(
        ["--reconnect"],
        type=click.FloatRange(min=0, min_open=True),
        metavar="[=SECONDS]",
        help="Where the connection breaks off, try for so long (else for ever) to go on in a "
        "session of the same kind, and tell what was missed.",
    )


def spelled_out(words: Sequence[str]) -> list[str]:
    """Give a --reconnect without a time, up to a `--`, that of for ever: no word follows it."""
    end = words.index("--") if "--" in words else len(words)
    own = ["--reconnect=inf" if word == "--reconnect" else word for word in words[:end]]
    return [*own, *words[end:]]


@dataclass(frozen=True)
class Reconnect:
    """Whether to reconnect to the daemon at `place`, and for how many seconds at most."""

    place: Place
    patience: float | None

    @property
    def mark_interval(self) -> int:
        """How often marks are asked for, ns; 0 for what others want."""
        return 0 if self.patience is None else MARK_INTERVAL

    def reconnector(self, host: Host, request: pb.TraceRequest) -> Reconnector | None:
        """Return what opens `request` again; None where that is not wanted.

        A daemon that this process started for itself is gone for good.
        """
        place, endpoint = self.place, host.endpoint
        named = find_endpoint(place.host, place.socket, tls=place.tls)
        if self.patience is None or endpoint != named:
            return None
        # Certificates are read anew, as they may have been renewed.
        from ptrace_client.host import Host

        return Reconnector(lambda: Host(endpoint), request, self.patience, host)


@dataclass(frozen=True)
class Missed:
    """The time range without data, CLOCK_MONOTONIC of the host in ns.

    Where the host was `rebooted` the clock has begun anew, and `end` is of the new one.
    """

    start: int
    end: int
    rebooted: bool

    def __str__(self) -> str:
        """Return what the user is told."""
        if self.rebooted:
            return (
                f"the host was started again: all events from {_s(self.start)} s on are missing, "
                f"up to {_s(self.end)} s of the clock since then"
            )
        ms = (self.end - self.start) // 1_000_000
        return (
            f"events of {ms} ms are missing, from {_s(self.start)} to {_s(self.end)} s "
            "(CLOCK_MONOTONIC)"
        )


class Reconnector:
    """Opens the session of `request` again on new connections that `connect` makes.

    `patience` is in seconds, for each time that the connection broke off. `first` is what the
    lost connection led to.
    """

    def __init__(
        self,
        connect: Callable[[], Host],
        request: pb.TraceRequest,
        patience: float,
        first: Host,
    ) -> None:
        self._connect = connect
        self._request = request
        self._patience = patience
        self._host = first
        self._own: Host | None = None
        self._given_up = threading.Event()

    # The two that RunSignals calls while there is no stream.

    def stop(self) -> None:
        """Give up; safe in a signal handler."""
        self._given_up.set()

    def wake(self) -> None:
        """Do nothing: there is no stream whose state could be shown."""

    def again(self, missed_from: int, deadline: int | None) -> tuple[EventStream, Missed] | None:
        """Return an equal stream, and what was missed from a time (ns) until it began.

        None where somebody asked to stop before, where `deadline` (local monotonic ns) or the
        patience has passed. Raise ClientError where the daemon is back and refuses.
        """
        begun = time.monotonic()
        until = min(
            begun + self._patience, math.inf if deadline is None else deadline / 1_000_000_000
        )
        wait, told = _FIRST_WAIT, ""
        boot = self._host.info.boot_id
        while not self._given_up.wait(max(min(wait, until - time.monotonic()), 0)):
            if time.monotonic() >= until:
                return None
            try:
                stream = self._open()
            except ClientError as error:
                if not error.transient:
                    raise
                if str(error) != told:
                    told = str(error)
                    print(f"ptrace-client: {terminal_safe(told)}; trying again", file=sys.stderr)
                wait = min(wait * 2, _LONGEST_WAIT)
                continue
            missed = Missed(missed_from, stream.started.start_time, self._host.info.boot_id != boot)
            return stream, missed
        return None

    def close(self) -> None:
        """Close the connection that was made last."""
        if self._own is not None:
            self._own.close()
            self._own = None

    def _open(self) -> EventStream:
        self.close()
        try:
            self._host = self._own = self._connect()
        except ClientError as error:
            # Whatever is wrong with the place: a daemon that starts puts it right.
            error.transient = True
            raise
        return self._host.open(self._request)


def _s(ns: int) -> str:
    return f"{ns // 1_000_000_000}.{ns // 1000 % 1_000_000:06d}"
