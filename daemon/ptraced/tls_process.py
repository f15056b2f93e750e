"""The process at the TLS port: TLS 1.3 both ways authenticated, and a user for each certificate.

gRPC's own TLS in Python knows neither revocation lists nor a least version. The key stays in this
process. It ends with its standard input, on which the daemon tells it which certificates are
whose: one JSON object a line, user by name in the certificate.
"""

from __future__ import annotations

import ipaddress
import json
import pwd
import socket
import ssl
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from ptraced.errors import Unavailable
from ptraced.front_events import Events
from ptraced.front_process import prepare, settings_from
from ptraced.gate import Gate, Guest, Settings, Visit
from ptraced.peer import NAME, Credentials, shown_address
from ptraced.tls_context import Files, Stamp, revoked_serials
from ptraced.tls_stream import TlsStream

# Handshakes at the same time. One takes about a millisecond.
_HANDSHAKES = 128


class TlsGate(Gate):
    """A gate whose clients show certificates."""

    def __init__(
        self,
        listener: socket.socket,
        settings: Settings,
        events: Events,
        life: int,
        files: Files,
        users: dict[str, str],
    ) -> None:
        super().__init__(listener, settings, events, life)
        self._files = files
        self._users = users
        self._stamp: Stamp = files.stamp()
        self._context = files.context()
        self._client_ca = files.client_ca.read_bytes()
        self._addresses: Counter[str] = Counter()
        self._half_heard = b""
        self._warned = ""

    def idle_seconds(self) -> float:
        # The files are looked at also when nobody connects: a revoked client may be there.
        return 1.0

    def arrive(self, connection: socket.socket, address: object) -> Guest | None:
        assert isinstance(address, tuple)
        shown = shown_address(address[0], address[1])
        host = _network(shown)
        most = self._settings.limits.per_user
        if self._addresses[host] >= most:
            reason = f"too many connections from {host} (limit {most})"
        else:
            self._make_room()
            try:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                stream = TlsStream(connection, self._context)
            except OSError:
                connection.close()
                return None
            self._addresses[host] += 1
            return self.new_guest(stream, None, shown)
        self.refused(None, reason, shown)
        connection.close()
        return None

    def _make_room(self) -> None:
        """Show out the oldest of the address with the most handshakes, where they are too many.

        Whoever has a certificate is done within milliseconds, and is not kept out by who is not.
        """
        guests = self.unidentified()
        if len(guests) < _HANDSHAKES:
            return
        hosts = Counter(_host(guest) for guest in guests)
        self.dismiss(
            max(guests, key=lambda guest: (hosts[_host(guest)], -guest.deadline)),
            f"too many TLS handshakes at once (limit {_HANDSHAKES})",
        )

    def identify(self, guest: Guest) -> str:
        assert isinstance(guest.stream, TlsStream)
        name = _common_name(guest.stream.certificate)
        if not NAME.fullmatch(name):
            return "the certificate's subject must have one common name (CN), a plain short one"
        guest.certificate = name
        user = self._users.get(name)
        if user is None:
            return (
                f"the certificate of {name} belongs to no user here: "
                "ask the administrator for a line in [tls.users]"
            )
        try:
            entry = pwd.getpwnam(user)
        except KeyError:
            return f"the certificate of {name} stands for a user that this host does not have"
        guest.who = Credentials(entry.pw_uid, entry.pw_gid, 0, guest.address, name)
        reason = self.count(guest.who)
        guest.counted = not reason
        return reason

    def failed(self, guest: Guest, error: OSError) -> None:
        if guest.who is None and guest.refusal is None and isinstance(error, ssl.SSLError):
            what = getattr(error, "verify_message", "") or error.reason or "not TLS"
            self.refused(None, f"TLS: {what}"[:200], guest.address)
            # OpenSSL has sent the client an alert.
            self.hang_up(guest)
        else:
            super().failed(guest, error)

    def leave(self, guest_or_visit: Guest | Visit) -> None:
        if isinstance(guest_or_visit, Guest):
            address = guest_or_visit.address
        else:
            address = guest_or_visit.who.address
        host = _network(address)
        self._addresses[host] -= 1
        if self._addresses[host] <= 0:
            del self._addresses[host]

    def hear(self, line: bytes) -> None:
        *lines, self._half_heard = (self._half_heard + line).split(b"\n")
        for whole in lines:
            self._users = json.loads(whole)
        for visit in self.visits():
            user = self._users.get(visit.who.certificate)
            if user is None or _uid(user) != visit.who.uid:
                self.end_visit(visit, "the certificate is not that user's any more")

    def look_around(self) -> None:
        self._reload()
        now = time.time()
        for visit in self.visits():
            if _stream(visit).expires < now:
                self.end_visit(visit, "the certificate has expired")

    def _reload(self) -> None:
        """Take files that have changed; broken ones change nothing."""
        try:
            stamp = self._files.stamp()
            if stamp == self._stamp:
                return
            self._stamp = stamp
            self._context = self._files.context()
            client_ca = self._files.client_ca.read_bytes()
        except (Unavailable, OSError) as error:
            reason = str(error).removeprefix("error: ")
            if reason != self._warned:
                self._events.tell({"kind": "not reloaded", "reason": reason})
            self._warned = reason
            return
        self._warned = ""
        self._events.tell({"kind": "reloaded"})
        self._end_revoked(client_ca != self._client_ca)
        self._client_ca = client_ca

    def _end_revoked(self, other_ca: bool) -> None:
        revoked: frozenset[int] = frozenset()
        if self._files.crl is not None:
            try:
                revoked = revoked_serials(self._files.crl)
            except (OSError, ValueError, ImportError):
                # Nobody stays of whom it is not known.
                other_ca = True
        for visit in self.visits():
            if other_ca or _stream(visit).serial in revoked:
                self.end_visit(visit, "the certificate has been revoked, or its CA exchanged")


def _host(guest: Guest) -> str:
    return guest.address.rpartition(":")[0]


def _common_name(certificate: dict[str, Any]) -> str:
    """The CN of the subject, empty where there is none or more than one."""
    parts = [part for parts in certificate.get("subject", ()) for part in parts]
    names = [value for kind, value in parts if kind == "commonName"]
    return names[0] if len(names) == 1 else ""


def _stream(visit: Visit) -> TlsStream:
    assert isinstance(visit.relay.client, TlsStream)
    return visit.relay.client


def _network(shown: str) -> str:
    """What counts as one place: an IPv4 address, or the /64 of an IPv6 one."""
    address = ipaddress.ip_address(shown.rpartition(":")[0].strip("[]"))
    if address.version == 4:
        return str(address)
    return str(ipaddress.ip_network((address, 64), strict=False))


def _uid(user: str) -> int | None:
    try:
        return pwd.getpwnam(user).pw_uid
    except KeyError:
        return None


def main() -> None:
    told = json.loads(sys.argv[2])
    settings = settings_from(sys.argv[2])
    prepare(settings)
    listener = socket.socket(fileno=int(sys.argv[1]))
    listener.setblocking(False)
    events = Events(sys.stdout.fileno())
    names = ("certificate", "key", "client_ca", "crl")
    files = Files(**{name: Path(told[name]) for name in names if told[name]})
    try:
        gate = TlsGate(listener, settings, events, sys.stdin.fileno(), files, told["users"])
    except (Unavailable, OSError) as error:
        events.tell({"kind": "failed", "reason": str(error)})
        sys.exit(1)
    events.tell({"kind": "ready"})
    gate.run()


if __name__ == "__main__":
    main()
