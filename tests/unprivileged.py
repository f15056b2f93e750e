"""Commands run as another user, who may not even have access to this project's directory."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
NOBODY = 65534


def as_user(argv: Sequence[str | os.PathLike[str]], uid: int = NOBODY) -> list[str]:
    """Return the command line that runs `argv` as `uid` without any privilege.

    The group is that of the same number. Needs root.
    """
    return [str(PROJECT / "deploy/as-user"), str(uid), *map(os.fspath, argv)]
