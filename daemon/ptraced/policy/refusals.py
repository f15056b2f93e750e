"""What callers are told who may not do what they ask for."""

from __future__ import annotations

from ptraced.diagnostics import printable
from ptraced.errors import PermissionRefused
from ptraced.policy.grant import Grant, Rule


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


def not_allowed(event: str, grant: Grant) -> PermissionRefused:
    """Of an event, "system:name", that no rule has that applies to the caller."""
    check_named(grant)
    names = ", ".join(f'"{rule.name}"' for rule in grant.rules)
    return PermissionRefused(
        f"error: the policy does not allow you {printable(event)}: your rules ({names}) are not "
        "about it; ask this host's administrator for one that is"
    )


def own_only(event: str, rule: Rule) -> PermissionRefused:
    """Of an event that is not shown to those who may trace just their own tasks."""
    return PermissionRefused(
        f'error: {printable(event)} may tell of others\' tasks, and rule "{rule.name}" allows '
        "you your own; ask this host's administrator for one of all tasks"
    )
