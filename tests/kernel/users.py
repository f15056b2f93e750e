"""Users without privileges: nobody, and the daemon that runs as a user of its own."""

from __future__ import annotations

import os
import re
from pathlib import Path

from processes import Daemon

from unprivileged import DAEMON_CAPABILITIES, as_user

DAEMON_UID = 65533
AS_NOBODY = tuple(as_user([]))
AS_DAEMON = tuple(as_user([], DAEMON_UID, DAEMON_CAPABILITIES))
# What clients of such a daemon are told where it may not lock as much memory as it would like.
SMALLER_BUFFER = re.compile(
    r"warning: the kernel buffer has (\d+) pages per CPU instead of (\d+): "
    r"the daemon may lock no more memory \(LimitMEMLOCK=\)\n"
)


def start_daemon(folder: Path, *prefix: str, config: str = "") -> Daemon:
    """Start a daemon as a user of its own, with just the capabilities that it needs.

    The words of `prefix` stand before its command line. Its files are in `folder`.
    """
    own = folder / "daemon"
    own.mkdir()
    os.chown(own, DAEMON_UID, DAEMON_UID)
    return Daemon(own, config=config, prefix=(*prefix, *AS_DAEMON))
