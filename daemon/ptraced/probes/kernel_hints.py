"""What to suggest to who names a kernel function that cannot be probed."""

from __future__ import annotations

import re
from collections.abc import Sequence

# What stands before a system call's name in the names of functions that serve it.
_SYSCALL_PREFIX = re.compile(
    r"(?:__(?:x64|ia32|arm64|se|do)_(?:compat_)?sys_|do_sys_|ksys_|sys_|vfs_|__do_|do_)"
)
# Shorter names are part of too many others.
_NAME_MIN = 5
_NAMED_MAX = 3


def tracepoint_hint(function: str, tracepoints: Sequence[str]) -> str:
    """Return "; the tracepoint 'x' may do" for the tracepoint most like a function, or ""."""
    found = _alike(function, tracepoints)
    return f"; the tracepoint '{found}' may do" if found else ""


def names_in_words(names: Sequence[str], word: str) -> str:
    """Return the first few names in quotes, "'a', 'b' or 'c'", and that there are more."""
    quoted = [f"'{name}'" for name in names[:_NAMED_MAX]]
    if len(names) > _NAMED_MAX:
        return f"{', '.join(quoted)} {word} {len(names) - _NAMED_MAX} more"
    return f" {word} ".join(filter(None, (", ".join(quoted[:-1]), quoted[-1])))


def _alike(function: str, tracepoints: Sequence[str]) -> str:
    names = {name.partition(":")[2]: name for name in tracepoints}
    syscall = _SYSCALL_PREFIX.sub("", function, count=1)
    for name in (function, f"sys_enter_{syscall}"):
        if name in names:
            return names[name]
    if len(function) < _NAME_MIN:
        return ""
    whole = re.compile(rf"(?:.*_)?{re.escape(function)}(?:_.*)?")
    return min((names[name] for name in names if whole.fullmatch(name)), key=len, default="")
