"""Users whose rights count: as whom a test opens files, and what policies say of them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def effective(uid: int) -> Iterator[None]:
    """Have this process be another user for what it connects to and opens; the group is alike."""
    groups = os.getgroups()
    os.setgroups([])
    os.setegid(uid)
    os.seteuid(uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(groups)


def own_rule(uid: int, **settings: object) -> str:
    """A rule of a configuration for one user: of all events, of its own tasks."""
    table = {
        "name": f"user-{uid}",
        "users": [f"#{uid}"],
        "events": ["*"],
        "uprobes": "own",
        "stacks": "all",
        **settings,
    }
    return "\n".join(["[[rule]]", *(f"{key} = {_toml(value)}" for key, value in table.items()), ""])


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f"[{', '.join(_toml(item) for item in value)}]"
    return f'"{value}"' if isinstance(value, str) else str(value)
