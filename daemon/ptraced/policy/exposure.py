"""What of an event a caller gets to see: whose tasks, which columns, which addresses."""

from __future__ import annotations

from dataclasses import dataclass

from ptraced.errors import PermissionRefused
from ptraced.policy.grant import Grant, Rule, Tasks
from ptraced.selector import SelectedEvent


@dataclass(frozen=True, slots=True)
class Exposure:
    """How an event is shown.

    `rule` decided so. `owner` is the uid whose tasks alone count, None for all tasks. Columns
    that are `blanked` are in the rows, and empty there. `addresses` of the kernel are shown.
    """

    rule: Rule
    owner: int | None = None
    blanked: frozenset[str] = frozenset()
    addresses: bool = True


def expose(event: SelectedEvent, grant: Grant) -> Exposure:
    """How a selected event is shown to a caller; raises PermissionRefused where it is not."""
    rule = grant.rule_for(event.name)
    if rule is None:
        raise PermissionRefused(f"error: the policy does not allow you {event.name}")
    if rule.tasks is Tasks.ALL:
        return Exposure(rule)
    return Exposure(rule, owner=grant.caller.uid, addresses=rule.kernel_addresses)
