"""`ptraced --explain-policy USER`: what a user may do, and by which rule, without a daemon."""

from __future__ import annotations

import pwd
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TextIO

from ptraced.config import Config
from ptraced.config_values import format_size
from ptraced.diagnostics import printable
from ptraced.errors import NotFound, PermissionRefused, TraceError
from ptraced.identity import Caller, local_caller
from ptraced.policy import events as events_table
from ptraced.policy.exposure import Exposure, View
from ptraced.policy.grant import Grant, Quota, Rule, Tasks, Uprobes
from ptraced.policy.load import unknown_names
from ptraced.sampling.selector import names as sampled_names
from ptraced.selector import SelectedEvent, resolve
from ptraced.tracefs import Tracefs, mounted_at

_RULES = ("RULE", "TASKS", "PROBED FILES", "STACKS", "ADDRESSES", "REMOTE", "ADMIN", "PLACE")
_PROBES = {"kprobe": False, "kretprobe": False, "uprobe": True, "uretprobe": True, "usdt": True}
# What events that sample have instead of a system.
_SAMPLED = "(sampled)"


def run(config: Config, user: str, selectors: Sequence[str], file: TextIO | None = None) -> int:
    """Explain the policy for a user, of all or of some events.

    Returns the exit status: 1 where nothing is allowed, or not all of the events. Raises NotFound
    for an unknown user, TraceError for unknown events.
    """
    caller = find_caller(user)
    grant = config.policy.grant(caller)
    tracefs = _tracefs()
    for warning in unknown_names(config.policy):
        print(f"warning: {warning}", file=sys.stderr)
    if selectors:
        told = [_decision(selector, grant, tracefs) for selector in selectors]
        lines = [line for some, _ in told for line in some]
        allowed = all(each for _, each in told)
    else:
        lines = [*_overview(grant, tracefs)]
        allowed = bool(grant.rules)
    print(*lines, sep="\n", file=file or sys.stdout)
    return 0 if allowed else 1


def find_caller(user: str) -> Caller:
    """The user of a name or a uid, as if at this host's socket; raises NotFound."""
    uid = user.removeprefix("#")
    try:
        entry = pwd.getpwuid(int(uid)) if uid.isdecimal() else pwd.getpwnam(user)
    except (KeyError, OverflowError, ValueError):
        raise NotFound(f"error: this host has no user {printable(user)}") from None
    return local_caller(entry.pw_uid, entry.pw_gid, 0)


def _tracefs() -> Tracefs | None:
    """The host's tracefs, if it is mounted and may be read: it is not mounted for this."""
    root = mounted_at(Path("/proc/self/mountinfo").read_text())
    try:
        return Tracefs(root) if root is not None and any((root / "events").iterdir()) else None
    except OSError:
        return None


def _overview(grant: Grant, tracefs: Tracefs | None) -> Iterator[str]:
    caller = grant.caller
    groups = ", ".join(sorted(caller.groups)) or "none"
    yield f"{caller.user or 'a user without a name'} (uid {caller.uid}; groups: {groups})"
    yield ""
    if not grant.rules:
        yield "No rule applies: nothing is allowed."
        return
    yield from _columns([_RULES, *map(_rule, grant.rules)])
    yield ""
    for rule in grant.rules:
        yield f"{rule.name}: {' '.join(rule.events) or 'no events'}"
    yield ""
    if tracefs is None:
        yield "tracefs is not mounted here, or may not be read: its events are not known."
    else:
        yield from _columns([("SYSTEM", "EVENTS", "TASKS", "RULE"), *_systems(grant, tracefs)])
    yield ""
    limits = [_limit(grant, limit.name) for limit in fields(Quota)]
    yield from _columns([("QUOTA", "LIMIT", "RULE"), *limits])


def _rule(rule: Rule) -> tuple[str, ...]:
    return (
        rule.name,
        rule.tasks,
        rule.uprobes,
        rule.stacks,
        "shown" if rule.kernel_addresses else "as the host",
        "yes" if rule.remote else "no",
        "yes" if rule.admin else "no",
        rule.place,
    )


def _systems(grant: Grant, tracefs: Tracefs) -> Iterator[tuple[str, ...]]:
    """What is granted of the events that the host has, by system and deciding rule."""
    total: Counter[str] = Counter()
    granted: Counter[tuple[str, str, str]] = Counter()
    deciding = [*_deciding_tracepoints(grant, tracefs), *_deciding_samples(grant, tracefs)]
    for system, rule in deciding:
        total[system] += 1
        if rule is not None:
            granted[system, rule.tasks, rule.name] += 1
    for (system, tasks, name), count in sorted(granted.items()):
        yield system, f"{count} of {total[system]}", tasks, name
    for kind, of_file in _PROBES.items():
        rule = _allowed(grant, f"{kind}:*")
        if rule is not None and (rule.uprobes is not Uprobes.NONE or not of_file):
            yield kind, "all", rule.tasks, rule.name


def _deciding_tracepoints(grant: Grant, tracefs: Tracefs) -> Iterator[tuple[str, Rule | None]]:
    for name in tracefs.names():
        yield name.partition(":")[0], _allowed(grant, name)


def _deciding_samples(grant: Grant, tracefs: Tracefs) -> Iterator[tuple[str, Rule | None]]:
    view = View(grant)
    for name in sampled_names():
        try:
            (event,) = resolve([name], tracefs)
        except TraceError:
            continue
        try:
            yield _SAMPLED, view.expose(event).rule
        except PermissionRefused:
            yield _SAMPLED, None


def _allowed(grant: Grant, name: str) -> Rule | None:
    """The rule that allows an event, as far as that needs no look at its fields."""
    rule = grant.rule_for(name)
    if rule is None or rule.tasks is Tasks.ALL:
        return rule
    entry = events_table.find(name)
    return rule if entry is not None and not entry.denied else None


def _decision(selector: str, grant: Grant, tracefs: Tracefs | None) -> tuple[list[str], bool]:
    """What decides about the events of a selector, and whether all are allowed."""
    if tracefs is None:
        rule = grant.rule_for(selector)
        return [f"{selector}: {_by(rule) if rule else 'denied: no rule has it'}"], rule is not None
    try:
        events = resolve([selector], tracefs, grant=grant)
    except PermissionRefused as error:
        return [f"{printable(selector)}: denied: {str(error).removeprefix('error: ')}"], False
    view, lines, allowed = View(grant), [], True
    for event in events:
        try:
            lines.append(f"{event.name}: {_shown(event, view.expose(event))}")
        except PermissionRefused as error:
            lines.append(f"{event.name}: denied: {str(error).removeprefix('error: ')}")
            allowed = False
    return lines, allowed


def _shown(event: SelectedEvent, exposure: Exposure) -> str:
    names = [field.name for field in event.format.fields]
    blank = [name for name in names if name in exposure.blanks.names]
    without = f", without {', '.join(blank)}" if blank else ""
    return f"{_by(exposure.rule)}{without}"


def _by(rule: Rule) -> str:
    return f'{rule.tasks} tasks, by rule "{rule.name}" ({rule.place})'


def _limit(grant: Grant, name: str) -> tuple[str, str, str]:
    """A limit, and the first rule that gives it."""
    limit = getattr(grant.quota, name)
    limiting = (rule for rule in grant.rules if rule.quota is not None)
    rule = next((rule for rule in limiting if getattr(rule.quota, name) == limit), grant.rules[0])
    if limit is None:
        return name, "none", rule.name
    return name, format_size(limit) if "bytes" in name else str(limit), rule.name


def _columns(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
