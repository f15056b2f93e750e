"""Option -o: the output of a run in a file."""

from __future__ import annotations

import os
import signal
import sys

from ptrace_client.errors import ClientError


def redirect_output(path: str) -> None:
    """Append stdout and stderr, also those of child processes, to the file `path`.

    SIGUSR1 opens the file anew, after a log rotation. Raise ClientError where it cannot be
    opened.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    try:
        _open(path)
    except OSError as error:
        raise ClientError(f"cannot write to {path}: {error.strerror}") from None
    # Not there on Windows.
    number = getattr(signal, "SIGUSR1", None)
    if number is not None:
        signal.signal(number, lambda *_: _reopen(path))


def _open(path: str) -> None:
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    os.dup2(file, 1)
    os.dup2(file, 2)
    os.close(file)


def _reopen(path: str) -> None:
    """Go on in a new file; in the old one where that fails, since the run must not end here."""
    try:
        _open(path)
    except OSError as error:
        os.write(2, f"cannot reopen {path}: {error.strerror}\n".encode(errors="replace"))
