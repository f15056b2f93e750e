"""Commands run as another user, who may not even have access to this project's directory."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
NOBODY = 65534


# All that ptraced needs.
DAEMON_CAPABILITIES = ("bpf", "perfmon", "dac_read_search")


def as_user(
    argv: Sequence[str | os.PathLike[str]], uid: int = NOBODY, caps: Sequence[str] = ()
) -> list[str]:
    """Return the command line that runs `argv` as `uid` with no privilege but `caps`.

    The group is that of the same number. Needs root.
    """
    options = ["--caps", ",".join(caps)] if caps else []
    return [str(PROJECT / "deploy/as-user"), *options, str(uid), *map(os.fspath, argv)]
