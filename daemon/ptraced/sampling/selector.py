"""Selectors of sampled events: EVENT[:MODIFIERS][/OPTIONS/ATTR/.../].

EVENT is `profile`, a name of `perf list`, `breakpoint` with its address among the options,
`mem:ADDRESS[/LENGTH][:rwx]`, `rNNN`, or a PMU with its terms before the options.
"""

from __future__ import annotations

import errno
import re
from dataclasses import dataclass, replace

from ptrace_formats.event_format import EventFormat
from ptrace_formats.sample_format import sample_format
from ptraced.diagnostics import pointed
from ptraced.errors import TraceError, Unavailable
from ptraced.filter import Filter
from ptraced.origin import Sampled
from ptraced.sampling import attr, counters, pmu
from ptraced.sampling.filters import sample_filter
from ptraced.sampling.options import parse_options
from ptraced.sampling.origins import (
    BREAKPOINT,
    PROFILE,
    find_counter,
    find_origin,
    hardware_names,
    is_event,
    with_rate,
)
from ptraced.sampling.refusal import refusal, why_refused

# Counters that are read with each sample.
_GROUP_MAX = 16
_MODIFIERS = re.compile(r"([\w-]+):([ukhIGHpP]{1,8})")


@dataclass(frozen=True, slots=True)
class SampledOptions:
    """What the options of an event say besides how it samples.

    `kernel` and `user` are whether the stack's parts are wanted: None where that is not said,
    and then the attributes and the session decide. `max_stack` counts frames, or is None.
    """

    kernel: bool | None = None
    user: bool | None = None
    max_stack: int | None = None
    cpus: str = ""
    pids: tuple[int, ...] = ()
    tids: tuple[int, ...] = ()
    filter: Filter | None = None

    def parts(self, kernel: bool, user: bool) -> tuple[bool, bool]:
        """Which parts of stacks are captured where the session asks for these."""
        if self.kernel or self.user:
            return bool(self.kernel), bool(self.user)
        return kernel and self.kernel is not False, user and self.user is not False


def is_sampled(event: str) -> bool:
    """Whether a selector's text before its first slash means a sampled event, or a profiler."""
    name = _without_modifiers(event)[0]
    return is_event(name) or name in counters.PROFILERS or name in counters.TOOL_EVENTS


def names() -> list[str]:
    """The sampled events of this host, as selectors take them, sorted."""
    found = [PROFILE, *counters.SOFTWARE_EVENTS, *hardware_names(), *pmu.pmu_events()]
    return sorted([*found, BREAKPOINT])


def find_sampled(
    event: str, options: str, text: str, *, start: int
) -> tuple[EventFormat, Sampled, SampledOptions]:
    """The event that a selector `text` means, whose `options` stand at text[start:].

    Raises TraceError that points at what is wrong, Unavailable where this host does not have it.
    """
    name, modifiers = _without_modifiers(event)
    _check_offered(name, text)
    parsed = parse_options(text, start, start + len(options))
    title, origin = find_origin(name, event, parsed, text)
    origin = replace(origin, flags=origin.flags | parsed.flags | _modifier_flags(modifiers))
    origin = with_rate(origin, parsed, text)
    if parsed.group is not None:
        origin = replace(origin, group=_group(text, *parsed.group))
    if parsed.user_stack_bytes is not None:
        origin = replace(origin, user_stack_bytes=parsed.user_stack_bytes)
    kernel, user = parsed.kernel_callchain, parsed.user_callchain
    if parsed.call_graph:
        kernel, user = kernel is not False, user is not False
    found = SampledOptions(
        kernel=kernel,
        user=user,
        max_stack=parsed.max_stack,
        cpus=parsed.cpus,
        pids=parsed.pids,
        tids=parsed.tids,
        filter=sample_filter(title, text, *parsed.filter) if parsed.filter else None,
    )
    _check_opens(title, origin, text, len(event))
    return sample_format(title), origin, found


def _without_modifiers(event: str) -> tuple[str, str]:
    found = _MODIFIERS.fullmatch(event)
    return (found[1], found[2]) if found else (event, "")


def _modifier_flags(modifiers: str) -> int:
    """Modifiers as in `perf list`: contexts that are named exclude those that are not."""
    flags = 0
    for excluded, group in (
        ({"u": attr.EXCLUDE_USER, "k": attr.EXCLUDE_KERNEL, "h": attr.EXCLUDE_HV}, "ukh"),
        ({"G": attr.EXCLUDE_GUEST, "H": attr.EXCLUDE_HOST}, "GH"),
    ):
        if set(modifiers) & set(group):
            flags |= sum(bit for char, bit in excluded.items() if char not in modifiers)
    if "I" in modifiers:
        flags |= attr.EXCLUDE_IDLE
    precise = attr.PRECISE_MAX if "P" in modifiers else min(modifiers.count("p"), attr.PRECISE_MAX)
    return flags | precise << attr.PRECISE_SHIFT


def _check_offered(name: str, text: str) -> None:
    reason = ""
    if name in counters.PROFILERS:
        reason = f"perf-prof's '{name}' {counters.PROFILERS[name]}"
    elif name in counters.TOOL_EVENTS:
        reason = f"'{name}' is a count that perf stat makes itself; it has no samples"
    if reason:
        raise Unavailable(pointed(reason, text, 0, len(name)))


def _group(text: str, start: int, end: int) -> tuple[Sampled, ...]:
    """The counters text[start:end], names with commas between them."""
    if text[start] == "(" and text[end - 1] == ")":
        start, end = start + 1, end - 1
    found = []
    for name in re.finditer(r"[^,\s](?:[^,/]|/[^/]*/)*", text[start:end]):
        place = start + name.start(), start + name.end()
        counter = find_counter(name[0].rstrip(), text, *place)
        try:
            attr.try_count(counter)
        except OSError as error:
            reason = why_refused(counter.counter, counter, error)
            raise refusal(error, pointed(reason, text, *place)) from None
        found.append(counter)
    if not 0 < len(found) <= _GROUP_MAX:
        message = f"a group counts 1 to {_GROUP_MAX} other events: --group page-faults,cpu-clock"
        raise TraceError(pointed(message, text, start, max(end, start + 1)))
    return tuple(found)


def _check_opens(name: str, origin: Sampled, text: str, end: int) -> None:
    """Refuse what the kernel refuses, before anything is made for it."""
    try:
        attr.try_open(origin)
    except OSError as error:
        if origin.type == counters.BREAKPOINT and error.errno == errno.ENOSPC:
            # All are taken, but one of them may be just this, which sessions share.
            return
        raise refusal(error, pointed(why_refused(name, origin, error), text, 0, end)) from None
