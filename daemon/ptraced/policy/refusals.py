"""What callers are told who may not do what they ask for."""

from __future__ import annotations

from ptraced.errors import PermissionRefused
from ptraced.policy.grant import Grant


def check_named(grant: Grant) -> None:
    """Raise PermissionRefused for callers whom no rule names: all else is refused to them."""
    if grant.rules:
        return
    caller = grant.caller
    who = caller.user or f"uid {caller.uid}"
    groups = f" (groups: {', '.join(sorted(caller.groups))})" if caller.groups else ""
    remote = " for calls from elsewhere" if caller.is_remote else ""
    raise PermissionRefused(
        f"error: no rule of this host's policy names you, {who}{groups}{remote}; "
        "ask its administrator for one, or for a group that may trace"
    )
