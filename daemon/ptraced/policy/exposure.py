"""What of an event a caller gets to see: whose tasks, which columns, which addresses."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

from ptraced.errors import PermissionRefused
from ptraced.layout import NO_BLANKS, Blanks
from ptraced.origin import Sampled
from ptraced.policy import events
from ptraced.policy.addresses import address_blanks, is_kernel_breakpoint, shows_addresses
from ptraced.policy.events import Entry
from ptraced.policy.grant import Grant, Rule, Tasks
from ptraced.policy.proc_view import shows_others
from ptraced.policy.refusals import not_allowed, own_only
from ptraced.sampling import counters
from ptraced.selector import SelectedEvent

# Types of perf events whose names mean the same everywhere.
_NAMED = (counters.SOFTWARE, counters.HARDWARE, counters.HW_CACHE)


@dataclass(frozen=True, slots=True)
class Exposure:
    """How an event is shown.

    `rule` decided so. `owner` is the uid whose tasks alone count, None for all tasks. Columns
    that are `blanks` are in the rows, and empty there. `addresses` of the kernel are shown.
    """

    rule: Rule
    owner: int | None = None
    blanks: Blanks = NO_BLANKS
    addresses: bool = True


class View:
    """What a caller is shown: by the rules of the policy, and by the kernel itself."""

    def __init__(self, grant: Grant) -> None:
        self._grant = grant

    def expose(self, event: SelectedEvent) -> Exposure:
        """How a selected event is shown; raises PermissionRefused where it is not."""
        rule = self._grant.rule_for(event.name)
        if rule is None:
            raise not_allowed(event.name, self._grant)
        entry = events.find(_name(event))
        addresses = rule.kernel_addresses or self._sees_addresses
        blanks = NO_BLANKS if addresses else _addresses(event, entry)
        if rule.tasks is Tasks.ALL:
            return Exposure(rule, None, blanks, addresses)
        if entry is None or entry.denied:
            raise own_only(event.name, rule)
        blanks = replace(blanks, all=blanks.all | self._others(event, entry))
        return Exposure(rule, self._grant.caller.uid, blanks, addresses)

    def _others(self, event: SelectedEvent, entry: Entry) -> frozenset[str]:
        """Fields that tell of others."""
        hidden = entry.blank((field.name for field in event.format.fields), self._sees_others)
        if isinstance(event.origin, Sampled) and not event.origin.frequency:
            # The period that was asked for.
            hidden -= {"period"}
        return hidden

    @cached_property
    def _sees_addresses(self) -> bool:
        return shows_addresses(self._grant.caller)

    @cached_property
    def _sees_others(self) -> bool:
        return shows_others(self._grant.caller)


def expose(event: SelectedEvent, grant: Grant) -> Exposure:
    """How a selected event is shown to a caller; raises PermissionRefused where it is not."""
    return View(grant).expose(event)


def _addresses(event: SelectedEvent, entry: Entry | None) -> Blanks:
    """What of an event is blank for whom addresses of the kernel are hidden from."""
    if is_kernel_breakpoint(event):
        raise PermissionRefused(
            f"error: {event.name} is an address of the kernel, which the policy does not show you"
        )
    blanks = address_blanks(event)
    return replace(blanks, all=blanks.all | entry.addresses) if entry is not None else blanks


def _name(event: SelectedEvent) -> str:
    """What the table calls an event: of those that sample, whatever their alias, the counter.

    Empty for events of a PMU: what they count depends on their terms.
    """
    origin = event.origin
    if not isinstance(origin, Sampled):
        return event.name
    return origin.counter if origin.type in _NAMED else ""
