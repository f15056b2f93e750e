"""What a front process tells the daemon: one JSON object a line, for its audit."""

from __future__ import annotations

import json
import os
from typing import Any

from ptraced.peer import Credentials
from ptraced.relay import Relay

# Different refusals that are told apart within a second.
_DIFFERENT = 256

_NOBODY = {"uid": None, "gid": None, "pid": 0}


class Events:
    """Writes to a pipe, and never waits for it: what does not fit is counted.

    Every line has `kind`, "connect", "disconnect" or "refused", and who it is about: `uid`, `gid`,
    `pid`, `address`, `certificate`; uid and gid are null where they are not known. Lines of a
    disconnect have `bytes_up`, `bytes_down` and `seconds`, and a `reason` where the front broke it
    off; those of a refusal its `reason`, and the `count` of refusals. `untold` is the number of
    lines before this one that are missing.
    """

    def __init__(self, pipe: int) -> None:
        os.set_blocking(pipe, False)
        self._pipe = pipe
        self._untold = 0
        self._repeated: dict[tuple[Any, ...], dict[str, Any]] = {}

    @property
    def waiting(self) -> bool:
        """Whether `flush` should be called in a while."""
        return bool(self._repeated)

    def entered(self, who: Credentials) -> None:
        """A connection was let in."""
        self.tell({"kind": "connect", **_named(who)})

    def left(self, who: Credentials, relay: Relay, seconds: float, reason: str) -> None:
        """A connection that was let in has ended."""
        self.tell(
            {
                "kind": "disconnect",
                **_named(who),
                "bytes_up": relay.bytes_up,
                "bytes_down": relay.bytes_down,
                "seconds": round(seconds, 3),
                "reason": reason,
            }
        )

    def refused(
        self, who: Credentials | None, address: str, reason: str, certificate: str = ""
    ) -> None:
        """A connection was not let in. Repeated ones are told once a second, with their count."""
        host = address.rpartition(":")[0]
        key = (who.uid if who else None, host, reason, certificate)
        if key in self._repeated:
            self._repeated[key]["count"] += 1
            return
        named = _named(who) if who else {**_NOBODY, "address": address, "certificate": certificate}
        line = {"kind": "refused", **named, "reason": reason, "count": 1}
        self.tell(line)
        if len(self._repeated) < _DIFFERENT:
            self._repeated[key] = {**line, "count": 0}

    def flush(self) -> None:
        """Tell how often refusals were repeated since the last time."""
        told, self._repeated = self._repeated, {}
        for line in told.values():
            if line["count"]:
                self.tell(line)

    def tell(self, line: dict[str, Any]) -> None:
        """Write a line as it is."""
        if self._untold:
            line = {**line, "untold": self._untold}
        # Shorter than PIPE_BUF (pipe(7)), so that it goes whole or not at all.
        try:
            os.write(self._pipe, json.dumps(line).encode() + b"\n")
        except OSError:
            self._untold += 1
        else:
            self._untold = 0


def _named(who: Credentials) -> dict[str, Any]:
    return {
        "uid": who.uid,
        "gid": who.gid,
        "pid": who.pid,
        "address": who.address,
        "certificate": who.certificate,
    }
