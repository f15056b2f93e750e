"""A file of lines that grows, is rotated by others, and may be on a disk that is full."""

from __future__ import annotations

import logging
import os
import threading
from pathlib import Path

from ptraced import log
from ptraced.errors import Unavailable

_MODE = 0o640
_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW


class LineFile:
    """Lines are appended to `path`, mode 0640; raises Unavailable where it cannot be opened."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        # A line that did not fit whole was begun: the next one starts on a line of its own.
        self._torn = False
        # The user was told that the file takes no lines, and not yet that it does again.
        self._failing = False
        try:
            self._fd = _opened(path)
        except OSError as error:
            raise Unavailable(
                f"error: cannot open the audit file {path}: {error.strerror}; "
                "the daemon's user must be able to write it, see audit.file"
            ) from None

    def write(self, line: bytes) -> bool:
        """Append a line, which ends with a newline; False where it could not be written."""
        with self._lock:
            data = b"\n" + line if self._torn else line
            try:
                written = os.write(self._fd, data)
            except OSError as error:
                self._failed(error.strerror)
                return False
            self._torn = written < len(data)
            if self._torn:
                self._failed("it was written in part")
                return False
            if self._failing:
                self._failing = False
                log.event("the audit file takes lines again", file=self._path)
            return True

    def reopen(self) -> None:
        """Go on in the file that has the name now; in the old one where that fails."""
        try:
            fd = _opened(self._path)
        except OSError as error:
            log.event(
                "cannot open the audit file anew; the old one is kept",
                logging.ERROR,
                file=self._path,
                error=error.strerror,
            )
            return
        with self._lock:
            os.close(self._fd)
            self._fd = fd
            self._torn = False

    def close(self) -> None:
        with self._lock:
            os.close(self._fd)

    def _failed(self, why: str | None) -> None:
        """Warn once, however long it lasts."""
        if not self._failing:
            self._failing = True
            log.event("lines of the audit file are lost", logging.ERROR, file=self._path, error=why)


def _opened(path: Path) -> int:
    """A descriptor of the file; one that is made gets its mode whatever the umask is."""
    try:
        fd = os.open(path, _FLAGS | os.O_EXCL, _MODE)
    except FileExistsError:
        return os.open(path, _FLAGS, _MODE)
    os.fchmod(fd, _MODE)
    return fd
