"""Whether a running session may go on when the policy has changed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ptraced.errors import PermissionRefused
from ptraced.policy.exposure import Exposure, View
from ptraced.policy.grant import Grant, Rule, StackParts, Tasks, Uprobes
from ptraced.selector import SelectedEvent

_PARTS = {
    StackParts.NONE: frozenset[str](),
    StackParts.USER: frozenset({"user"}),
    StackParts.KERNEL: frozenset({"kernel"}),
    StackParts.ALL: frozenset({"user", "kernel"}),
}
_FILES = {
    Uprobes.NONE: "no files at all",
    Uprobes.OWN: "your own files",
    Uprobes.ALL: "all files",
}
_WIDTHS = list(Uprobes)
_USER_PROBES = ("uprobe", "uretprobe", "usdt")


@dataclass(frozen=True, slots=True)
class Granted:
    """What a session has of one event: `columns` by name, `stacks` "user" and "kernel"."""

    event: SelectedEvent
    exposure: Exposure
    columns: frozenset[str]
    stacks: frozenset[str]


def withdrawn(session: Iterable[Granted], grant: Grant) -> str:
    """What of all that a session has a new grant does not allow, one of it; "" for nothing."""
    view = View(grant)
    # What else decides, such as the mount options of /proc, is no part of the policy: it was asked
    # when the session began, and the caller's process may be gone.
    fewer = (granted for granted in session if not _is_renewed(granted, grant))
    return next(filter(None, (_missing(granted, view) for granted in fewer)), "")


def _is_renewed(granted: Granted, grant: Grant) -> bool:
    """Whether the rule that decides now grants all that the one of before did."""
    before, after = granted.exposure.rule, grant.rule_for(granted.event.name)
    return (
        after is not None
        and (after.tasks is Tasks.ALL or after.tasks is before.tasks)
        and after.kernel_addresses >= before.kernel_addresses
        and _PARTS[after.stacks] >= _PARTS[before.stacks]
        and not _narrower(after, before)
    )


def _missing(granted: Granted, view: View) -> str:
    event, before = granted.event, granted.exposure
    try:
        after = view.expose(event)
    except PermissionRefused as error:
        return str(error).removeprefix("error: ")
    rule = f'rule "{after.rule.name}"'
    if after.owner is not None and after.owner != before.owner:
        return f"{rule} allows you {event.name} only of your own tasks"
    blanks = (after.blanks.all - before.blanks.all) & granted.columns
    if blanks:
        return f"{rule} does not show you {', '.join(sorted(blanks))} of {event.name}"
    in_kernel = after.blanks.kernel_addresses & granted.columns or "kernel" in granted.stacks
    if before.addresses and not after.addresses and in_kernel:
        return f"{rule} does not show you kernel addresses of {event.name}"
    parts = granted.stacks - _PARTS[after.rule.stacks]
    if parts:
        return f"{rule} does not allow you {' and '.join(sorted(parts))} stacks of {event.name}"
    if event.format.system in _USER_PROBES and _narrower(after.rule, before.rule):
        return f"{rule} allows you {event.name} only in {_FILES[after.rule.uprobes]}"
    return ""


def _narrower(after: Rule, before: Rule) -> bool:
    return _WIDTHS.index(after.uprobes) < _WIDTHS.index(before.uprobes)
