"""What a policy grants to a caller.

All rules that name a caller apply. An event is decided by one of them: the first whose globs
have it, where a rule for all tasks goes before one for the caller's own. That rule decides all
else about the event, too: stacks, addresses, files of user probes. What no rule has is denied.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass, fields
from fnmatch import fnmatchcase
from functools import reduce

from ptraced.config_files import BUILT_IN
from ptraced.identity import Caller

_Choice = Callable[[int | None, int | None], int | None]


class Tasks(enum.StrEnum):
    """Whose tasks an event is seen of."""

    OWN = "own"
    ALL = "all"


class Uprobes(enum.StrEnum):
    """Which files user probes may go into; see probes/access.py for what "own" means."""

    NONE = "none"
    OWN = "own"
    ALL = "all"


class StackParts(enum.StrEnum):
    """Which parts of stacks are shown."""

    NONE = "none"
    USER = "user"
    KERNEL = "kernel"
    ALL = "all"


@dataclass(frozen=True, slots=True, kw_only=True)
class Quota:
    """What a user may use at once, or per second; None: no limit.

    `probes` are places of kprobes and user probes, `buffer_bytes` kernel buffers over all CPUs,
    `stack_depth` frames of either part, `stacks_per_second` new stacks that are given names,
    `compile_ms` time of the compiler per minute, `cpu_percent` the time that BPF programs take
    on all CPUs together, in percent of one CPU.
    """

    sessions: int | None = None
    programs: int | None = None
    probes: int | None = None
    buffer_bytes: int | None = None
    events_per_second: int | None = None
    bytes_per_second: int | None = None
    stack_depth: int | None = None
    stacks_per_second: int | None = None
    compile_ms: int | None = None
    cpu_percent: int | None = None

    @property
    def is_metered(self) -> bool:
        """Whether anything is limited that goes by the second and is not the compiler's."""
        metered = (self.events_per_second, self.bytes_per_second, self.stacks_per_second)
        return any(limit is not None for limit in metered)

    def widest(self, other: Quota) -> Quota:
        """The larger limit of each."""
        return self._each(_larger, other)

    def narrowest(self, other: Quota) -> Quota:
        """The smaller limit of each."""
        return self._each(_smaller, other)

    def _each(self, choose: _Choice, other: Quota) -> Quota:
        return Quota(
            **{
                limit.name: choose(getattr(self, limit.name), getattr(other, limit.name))
                for limit in fields(Quota)
            }
        )


def _smaller(one: int | None, other: int | None) -> int | None:
    return one if other is None else other if one is None else min(one, other)


def _larger(one: int | None, other: int | None) -> int | None:
    return None if one is None or other is None else max(one, other)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A rule of the policy; `place` is its file and line.

    `users` and `groups` are names ("*": everybody), or uids as "#1000". `events` are globs over
    "system:name", and those that start with "!" take out of the others. Without a `quota` the
    rule says nothing of limits.
    """

    name: str
    place: str = BUILT_IN
    users: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    events: tuple[str, ...] = ()
    tasks: Tasks = Tasks.OWN
    uprobes: Uprobes = Uprobes.NONE
    stacks: StackParts = StackParts.NONE
    kernel_addresses: bool = False
    remote: bool = False
    admin: bool = False
    quota: Quota | None = None

    def applies_to(self, caller: Caller) -> bool:
        """Whether the rule names a caller, who has come a way that it allows."""
        if caller.is_remote and not self.remote:
            return False
        names = {"*", f"#{caller.uid}", *([caller.user] if caller.user else [])}
        return not names.isdisjoint(self.users) or not caller.groups.isdisjoint(self.groups)

    def has(self, event: str) -> bool:
        """Whether an event, "system:name", is one of the rule's."""
        out = (glob[1:] for glob in self.events if glob.startswith("!"))
        if any(fnmatchcase(event, glob) for glob in out):
            return False
        return any(fnmatchcase(event, glob) for glob in self.events if not glob.startswith("!"))


@dataclass(frozen=True, slots=True)
class Grant:
    """All that a policy allows a caller."""

    caller: Caller
    rules: tuple[Rule, ...]

    def rule_for(self, event: str) -> Rule | None:
        """The rule that decides about an event, "system:name"; None where it is denied."""
        having = [rule for rule in self.rules if rule.has(event)]
        wide = (rule for rule in having if rule.tasks is Tasks.ALL)
        return next(wide, having[0] if having else None)

    @property
    def quota(self) -> Quota:
        """The widest limits of those rules that have any; of a caller without rules, nothing."""
        if not self.rules:
            return Quota(**{limit.name: 0 for limit in fields(Quota)})
        quotas = [rule.quota for rule in self.rules if rule.quota is not None]
        return reduce(Quota.widest, quotas) if quotas else Quota()

    @property
    def admin(self) -> bool:
        """Whether sessions of all users are seen, and may be killed."""
        return any(rule.admin for rule in self.rules)


@dataclass(frozen=True, slots=True)
class Policy:
    """The rules of a host."""

    rules: tuple[Rule, ...]

    def grant(self, caller: Caller) -> Grant:
        """What the caller may do."""
        return Grant(caller, tuple(rule for rule in self.rules if rule.applies_to(caller)))
