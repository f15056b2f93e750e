"""Tasks that a request names by number, held against the reuse of the number.

A task is what it was as long as its pidfd is not readable (pidfd_open(2)), and where it has none,
as long as it began when it did (proc_pid_stat(5), starttime).
"""

from __future__ import annotations

import errno
import os
import select
from pathlib import Path

from ptraced.errors import NotFound

# PIDFD_THREAD: of a thread that is not the first of its process, since 6.9 (commit 64bef697d33b).
_THREAD = os.O_EXCL
# Of a request that names more tasks these have descriptors, and the others' beginnings tell.
DESCRIPTORS_MAX = 64
# How the kernel says that it has no descriptors of threads, or that we may have no more.
_NO_DESCRIPTOR = (errno.EINVAL, errno.EMFILE, errno.ENFILE, errno.ENOMEM)


class Pin:
    """A process, or with `thread` a thread, from now on. Raises NotFound where it is not there."""

    def __init__(self, number: int, thread: bool = False, *, descriptor: bool = True) -> None:
        self.number = number
        self.thread = thread
        self._fd = -1
        if number <= 0:
            raise self.missing()
        try:
            if descriptor:
                self._fd = _pidfd(number, thread)
            self._began = _began(number)
        except OSError:
            raise self.missing() from None
        if self.gone:
            raise self.missing()

    @property
    def kind(self) -> str:
        return "thread" if self.thread else "process"

    @property
    def gone(self) -> bool:
        """Whether it has ended, so that its number may be another's."""
        if self._fd >= 0:
            poll = select.poll()
            poll.register(self._fd, select.POLLIN)
            return bool(poll.poll(0))
        try:
            return _began(self.number) != self._began
        except OSError:
            return True

    def missing(self) -> NotFound:
        """What whoever named it is told where it is not there, or not to be seen."""
        return NotFound(f"error: no {self.kind} {self.number}: it may have exited, or never was")

    def release(self) -> None:
        """Let go of its descriptor; when it began still tells."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def __del__(self) -> None:
        self.release()


def _pidfd(number: int, thread: bool) -> int:
    """A descriptor of a task, -1 where it can have none; raises OSError where there is no task."""
    try:
        return os.pidfd_open(number, _THREAD if thread else 0)
    except OSError as error:
        if error.errno in _NO_DESCRIPTOR:
            return -1
        raise


def _began(number: int) -> bytes:
    """When a task began, in clock ticks since the host did; raises OSError where there is none."""
    # The name may have any bytes.
    return Path(f"/proc/{number}/stat").read_bytes().rpartition(b")")[2].split()[19]
