"""The one exception that ends a command with a message and an exit status."""

from __future__ import annotations


class ClientError(Exception):
    """What went wrong, where, and what to do, for the user as it stands.

    `status` is the exit status of the command: 2 for input that cannot be served,
    1 for a failure of the run itself; see ends.py for others. `transient` is true of what may be
    otherwise in a moment.
    """

    def __init__(self, text: str, status: int = 2, *, transient: bool = False) -> None:
        super().__init__(text)
        self.status = status
        self.transient = transient
