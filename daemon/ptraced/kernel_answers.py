"""What a kernel can, asked once: it does not learn while it runs."""

from __future__ import annotations

import errno
import functools
from collections.abc import Callable

# Refusals that say nothing of the kernel: there was no room just then.
NO_ROOM = frozenset(
    (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOSPC, errno.EAGAIN, errno.EINTR)
)


def remembered(ask: Callable[[], bool]) -> Callable[[], bool]:
    """Have a question asked once, unless there is no room for an answer.

    `ask` may raise OSError for no. One that comes of too many open files or too little memory
    is a no for now, and asked again.
    """

    @functools.cache
    def answer() -> bool:
        try:
            return ask()
        except OSError as error:
            if error.errno in NO_ROOM:
                raise
            return False

    @functools.wraps(ask)
    def known() -> bool:
        try:
            return answer()
        except OSError:
            return False

    return known
