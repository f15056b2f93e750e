"""What of an event a caller gets to see: whose tasks, which columns, which addresses."""

from __future__ import annotations

from dataclasses import dataclass

from ptraced.errors import PermissionRefused
from ptraced.layout import NO_BLANKS, Blanks
from ptraced.origin import Sampled
from ptraced.policy import events
from ptraced.policy.addresses import address_blanks, is_kernel_breakpoint, shows_addresses
from ptraced.policy.grant import Grant, Rule, Tasks
from ptraced.policy.proc_view import shows_others
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


def expose(event: SelectedEvent, grant: Grant) -> Exposure:
    """How a selected event is shown to a caller; raises PermissionRefused where it is not."""
    rule = grant.rule_for(event.name)
    if rule is None:
        raise PermissionRefused(f"error: the policy does not allow you {event.name}")
    addresses = rule.kernel_addresses or shows_addresses(grant.caller)
    entry = events.find(_name(event))
    blanks = NO_BLANKS if addresses else address_blanks(event)
    if entry is not None and not addresses:
        blanks = Blanks(blanks.all | entry.addresses, blanks.kernel_addresses)
    if not addresses and is_kernel_breakpoint(event):
        raise PermissionRefused(
            f"error: {event.name} is an address of the kernel, which the policy does not show you"
        )
    if rule.tasks is Tasks.ALL:
        return Exposure(rule, None, blanks, addresses)
    if entry is None or entry.denied:
        raise PermissionRefused(
            f"error: {event.name} may tell of others' tasks, and the policy allows you your own"
        )
    names = [field.name for field in event.format.fields]
    hidden = entry.blank(names, shows_others(grant.caller))
    if isinstance(event.origin, Sampled) and not event.origin.frequency:
        # The period that was asked for.
        hidden -= {"period"}
    return Exposure(
        rule, grant.caller.uid, Blanks(blanks.all | hidden, blanks.kernel_addresses), addresses
    )


def _name(event: SelectedEvent) -> str:
    """What the table calls an event: of those that sample, whatever their alias, the counter.

    Empty for events of a PMU: what they count depends on their terms.
    """
    origin = event.origin
    if not isinstance(origin, Sampled):
        return event.name
    return origin.counter if origin.type in _NAMED else ""
