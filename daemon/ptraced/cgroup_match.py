"""Matches names by a caller's regular expression, in a process that can be ended.

Some expressions take for ever, some of them before any name is looked at, and Python's `re` lets
no other thread run meanwhile.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Sequence

from ptraced.diagnostics import printable
from ptraced.errors import TraceError

# Seconds that matching may take: thousands of names take milliseconds.
_PATIENCE = 2.0


def matching(pattern: str, names: Sequence[str]) -> list[str]:
    """The names in which `pattern` is found.

    Raises TraceError where that takes too long, ValueError for what is no regular expression.
    """
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-m", "ptraced.cgroup_match"],
            input=json.dumps([pattern, names]),
            capture_output=True,
            check=True,
            text=True,
            timeout=_PATIENCE,
        )
    except subprocess.TimeoutExpired:
        raise TraceError(f"error: cgroup '{printable(pattern)}' takes too long to match") from None
    answer = json.loads(done.stdout)
    if isinstance(answer, str):
        raise ValueError(answer)
    found: list[str] = answer
    return found


def main() -> None:
    pattern, names = json.load(sys.stdin)
    try:
        expression = re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        json.dump(str(error), sys.stdout)
    else:
        json.dump([name for name in names if expression.search(name)], sys.stdout)


if __name__ == "__main__":
    main()
