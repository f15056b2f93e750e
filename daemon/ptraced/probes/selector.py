"""The grammar of probes in selectors, and who finds their places.

kprobe:FUNCTION[+OFFSET], kretprobe:FUNCTION
uprobe:SYMBOL[+OFFSET]@"FILE", uretprobe:SYMBOL@"FILE", usdt:PROVIDER:NAME@"FILE"

A function or symbol may be a glob, or an address. Quotes may be single or double, and left
out; those around the part before the @ keep a name with commas or slashes together.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from ptrace_formats.event_format import EventFormat
from ptraced.diagnostics import pointed
from ptraced.errors import TraceError
from ptraced.origin import Probe
from ptraced.policy.grant import Grant
from ptraced.probes.kernel import find_kernel_probes
from ptraced.probes.user import find_user_probes
from ptraced.tracefs import Tracefs

KINDS = ("kprobe", "kretprobe", "uprobe", "uretprobe", "usdt")
_EXAMPLES = {
    "kprobe": "kprobe:vfs_read",
    "kretprobe": "kretprobe:vfs_read",
    "uprobe": 'uprobe:malloc@"/lib/x86_64-linux-gnu/libc.so.6"',
    "uretprobe": 'uretprobe:malloc@"/lib/x86_64-linux-gnu/libc.so.6"',
    "usdt": 'usdt:libc:setjmp@"/lib/x86_64-linux-gnu/libc.so.6"',
}
# Of names that linkers know, or of what C++ makes of them.
_TARGET_MAX = 4096
_QUOTED_FILE = re.compile(
    r"(?P<target>.*)@\s*(?P<quote>[\"'])(?P<path>(?:(?!(?P=quote)).)*)(?P=quote)\s*"
)
_PLAIN_FILE = re.compile(r"(?P<target>.*)@(?P<path>[^@\"']*)")


def find_probes(
    event: str,
    text: str,
    strings: Mapping[str, int],
    *,
    tracefs: Tracefs,
    most: int,
    pids: Sequence[int],
    grant: Grant | None = None,
) -> list[tuple[EventFormat, Probe]]:
    """Return the probes that a selector asks for, sorted by name; at most `most`.

    `event` is the part of the selector `text` before its first slash and starts with one of
    KINDS. `strings` names arguments that are text in user memory, each with the most bytes to
    read of it. Files are looked up where the first of `pids` sees them, and probed as `grant`
    allows; without one they are not. Raises TraceError, NotFound, Unavailable, LimitExceeded or
    PermissionRefused, which point at what is wrong.
    """
    kind, _, rest = event.partition(":")
    if kind in ("kprobe", "kretprobe"):
        target = _unquoted(rest)
        _check_named(kind, target, "function", text, event)
        return find_kernel_probes(kind, target, text, strings, tracefs=tracefs, most=most)
    found = _QUOTED_FILE.fullmatch(rest) or _PLAIN_FILE.fullmatch(rest)
    if found is None or not found["path"].strip():
        message = f"a file is missing here: {_EXAMPLES[kind]}"
        raise TraceError(pointed(message, text, len(event), len(event) + 1))
    target = _unquoted(found["target"])
    _check_named(kind, target, "probe" if kind == "usdt" else "symbol", text, event)
    path = found["path"] if "quote" in found.groupdict() else found["path"].strip()
    return find_user_probes(kind, target, path, text, strings, most=most, pids=pids, grant=grant)


def _unquoted(text: str) -> str:
    text = text.strip()
    if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'":
        return text[1:-1]
    return text


def _check_named(kind: str, target: str, what: str, text: str, event: str) -> None:
    """Refuse a selector that does not say which function is meant, or endlessly."""
    if len(target) > _TARGET_MAX:
        at = text.find(target, len(kind))
        message = f"no {what}'s name has more than {_TARGET_MAX} characters"
        raise TraceError(pointed(message, text, at, at + len(target)))
    if target:
        return
    at = min(len(kind) + 1, len(event))
    raise TraceError(pointed(f"a {what} is missing here: {_EXAMPLES[kind]}", text, at, at + 1))
