"""The errors that a caller of ptraced sees."""

from __future__ import annotations


class TraceError(Exception):
    """Something the caller can put right: says what is wrong, where, and what to do.

    The text is meant for the user as it stands, without a traceback. It may have
    several lines; a place in a selector or filter is marked by a caret line.
    """


class Unavailable(TraceError):
    """This host cannot do it now: a missing privilege, file, header or kernel feature."""


class NotFound(TraceError):
    """The event, session or process that was named does not exist."""


class PermissionRefused(TraceError):
    """The caller may not do this."""


class LimitExceeded(TraceError):
    """A limit of the server was reached."""
