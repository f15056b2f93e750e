"""Calls functions of the modules in a folder: python module_calls.py FOLDER.

Reads lines, each a pickled list of (module, function, arguments) in hex, and prints in the same
form what the calls returned or raised, and printed.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import pickle
import sys
from collections import defaultdict
from typing import Any


def outcome(module: str, function: str, arguments: tuple[Any, ...]) -> tuple[object, str]:
    """Return (result or error, output) of a call."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        try:
            called = getattr(importlib.import_module(module), function)
            result: object = plain(called(*arguments))
        except Exception as error:
            result = type(error).__name__
    return result, printed.getvalue()


def plain(value: Any) -> Any:
    """Return what both sides can compare: the members of objects, the items of autodicts."""
    if isinstance(value, defaultdict):
        return {key: plain(item) for key, item in value.items()}
    if hasattr(value, "__dict__"):
        return type(value).__name__, vars(value)
    return value


def stats(values: list[Any]) -> dict[str, Any]:
    """Add values to the same key by Util's add_stats()."""
    result: dict[str, Any] = {}
    for value in values:
        importlib.import_module("Util").add_stats(result, "key", value)
    return result


def tables() -> tuple[Any, Any]:
    """Return what Core has been told of flags and symbols."""
    core = importlib.import_module("Core")
    return plain(core.flag_fields), plain(core.symbolic_fields)


def forget() -> None:
    """Empty those tables."""
    core = importlib.import_module("Core")
    core.flag_fields.clear()
    core.symbolic_fields.clear()


def headers(secs: int, nsecs: int) -> tuple[Any, ...]:
    """Make EventHeaders and call its methods."""
    made = importlib.import_module("Core").EventHeaders(1, secs, nsecs, 3, "comm", [])
    return plain(made), made.ts(), made.ts_format()


def sample(size: int, start: int) -> Any:
    """Make an event of so many raw bytes, show it, and return its members and counts."""
    classes = importlib.import_module("EventClass")
    raw = bytes((start + place) % 256 for place in range(size))
    made = classes.create_event("cycles", "bash", "/bin/bash", "main", raw)
    made.show()
    numbers = (
        classes.PerfEvent.event_num,
        classes.PebsEvent.pebs_num,
        classes.PebsNHM.pebs_nhm_num,
    )
    return plain(made), numbers


def constant(module: str, name: str) -> Any:
    """Return what a name of a module stands for."""
    return getattr(importlib.import_module(module), name)


def names(module: str) -> dict[str, str]:
    """Return the public names of a module, with the types of what they stand for."""
    members = vars(importlib.import_module(module))
    return {name: type(it).__name__ for name, it in members.items() if not name.startswith("_")}


if __name__ == "__main__":
    sys.path.append(sys.argv[1])
    sys.modules["here"] = sys.modules["__main__"]
    for line in sys.stdin:
        calls = pickle.loads(bytes.fromhex(line))
        print(pickle.dumps([outcome(*call) for call in calls]).hex(), flush=True)
