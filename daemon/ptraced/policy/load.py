"""Rules and quotas from the tables of the configuration."""

from __future__ import annotations

import grp
import pwd
from collections.abc import Callable, Iterable, Iterator, Sequence
from fnmatch import fnmatchcase
from typing import Any

from ptraced import config_values as values
from ptraced.config_files import (
    BUILT_IN,
    Document,
    Mistake,
    Parsers,
    merged_table,
    parse_table,
    shown,
)
from ptraced.policy.grant import Policy, Quota, Rule, StackParts, Tasks, Uprobes

_MANY = 1 << 40
# A quota of 0 would be a rule that grants nothing; where it takes just a part away, it may be.
_QUOTA: Parsers = {
    "sessions": values.number(1, 65536),
    "programs": values.number(1, 65536),
    "probes": values.number(0, 65536),
    "buffer_bytes": values.size(1 << 12, _MANY),
    "events_per_second": values.number(1, _MANY),
    "bytes_per_second": values.size(1, _MANY),
    "stack_depth": values.number(0, 127),
    "stacks_per_second": values.number(0, _MANY),
    "compile_ms": values.number(1, 60_000),
    "cpu_percent": values.number(1, 100_000),
}
_RULE: Parsers = {
    "name": values.name,
    "users": values.users,
    "groups": values.groups,
    "events": values.globs,
    "tasks": values.member(Tasks),
    "uprobes": values.member(Uprobes),
    "stacks": values.member(StackParts),
    "kernel_addresses": values.flag,
    "remote": values.flag,
    "admin": values.flag,
}


def load_quota(documents: Sequence[Document]) -> tuple[Quota, list[Mistake]]:
    """The limits of all users together, [quota], and what is wrong with them."""
    settings, mistakes = merged_table(documents, "quota", _QUOTA)
    return Quota(**settings), mistakes


def load_rules(documents: Sequence[Document]) -> tuple[tuple[Rule, ...], list[Mistake]]:
    """The rules of all files in their order, and what is wrong with them."""
    rules: list[Rule] = []
    mistakes: list[Mistake] = []
    for document in documents:
        tables = document.content.get("rule", [])
        if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
            mistakes.append(document.mistake(("rule",), "rules are tables: [[rule]]"))
            continue
        for number, table in enumerate(tables):
            rule, wrong = _rule(document, number, table)
            mistakes += wrong
            if rule is not None:
                mistakes += _contradictions(document, number, rule, rules)
                rules.append(rule)
    return tuple(rules), mistakes


def _rule(
    document: Document, number: int, table: dict[str, Any]
) -> tuple[Rule | None, list[Mistake]]:
    path = ("rule", number)
    called = f'rule "{table["name"]}": ' if isinstance(table.get("name"), str) else "rule: "
    quota = table.get("quota", {})
    if isinstance(quota, dict):
        quota, mistakes = parse_table(document, (*path, "quota"), quota, _QUOTA, f"{called}quota.")
    else:
        mistakes = [document.mistake((*path, "quota"), f"{called}quota must be a table")]
    rest = {key: value for key, value in table.items() if key != "quota"}
    settings, wrong = parse_table(document, path, rest, _RULE, called)
    mistakes += wrong
    if "name" not in table:
        mistakes.append(document.mistake(path, 'a rule must have a name: name = "..."'))
    if mistakes:
        return None, mistakes
    limits = Quota(**quota) if "quota" in table else None
    return Rule(place=document.place(*path), quota=limits, **settings), []


def _contradictions(
    document: Document, number: int, rule: Rule, before: Iterable[Rule]
) -> list[Mistake]:
    """Where a rule contradicts itself, or one that stands before it."""
    found = [*_own_contradictions(rule), *_with_others(rule, before)]
    return [
        document.mistake(("rule", number, key), f'rule "{rule.name}": {what}')
        for key, what in found
    ]


def _own_contradictions(rule: Rule) -> Iterator[tuple[str, str]]:
    if not rule.users and not rule.groups:
        yield "name", 'applies to nobody: it must have users or groups; users = ["*"] is everybody'
    taken_in, taken_out = _globs(rule)
    if rule.events and all(any(_covers(out, glob) for out in taken_out) for glob in taken_in):
        yield "events", f"takes out all that it takes in, {shown(list(rule.events))}"
    if not rule.events and not rule.admin and rule.quota is None:
        yield (
            "name",
            'allows nothing: it must have events, such as ["sched:*"], or admin or a quota',
        )


def _with_others(rule: Rule, before: Iterable[Rule]) -> Iterator[tuple[str, str]]:
    for other in before:
        if other.name == rule.name:
            yield "name", f"has the name of the rule in {other.place}"
        elif _who(other) == _who(rule) and other.tasks is not rule.tasks:
            both = set(_globs(other)[0]).intersection(_globs(rule)[0])
            for glob in sorted(both):
                yield (
                    "tasks",
                    f'allows "{glob}" of {rule.tasks} tasks, but rule "{other.name}" '
                    f"({other.place}) of {other.tasks} tasks to the same users",
                )


def _who(rule: Rule) -> tuple[frozenset[str], frozenset[str], bool]:
    """Who a rule applies to: own tasks from afar and all tasks at the host are no contradiction."""
    return frozenset(rule.users), frozenset(rule.groups), rule.remote


def _globs(rule: Rule) -> tuple[list[str], list[str]]:
    """Globs that take in, and those that take out, without their "!"."""
    out = [glob[1:] for glob in rule.events if glob.startswith("!")]
    return [glob for glob in rule.events if not glob.startswith("!")], out


def _covers(wide: str, narrow: str) -> bool:
    """Whether all that one glob matches is surely matched by the other."""
    # A wildcard of the narrow one is for "*" a text like any other; "?" and "[]" are not so.
    return wide == narrow or ("?" not in wide and "[" not in wide and fnmatchcase(narrow, wide))


def unknown_names(policy: Policy) -> Iterator[str]:
    """Warnings of users and groups that the host does not know; its LDAP may be down.

    Groups of the rules that are built in need not be there.
    """
    for rule in policy.rules:
        if rule.place == BUILT_IN:
            continue
        named = [name for name in rule.users if name != "*" and not name.startswith("#")]
        absent = [f'user "{name}"' for name in named if not _is_known(pwd.getpwnam, name)]
        absent += [f'group "{name}"' for name in rule.groups if not _is_known(grp.getgrnam, name)]
        for what in absent:
            yield f'{rule.place}: rule "{rule.name}": this host has no {what}'


def _is_known(look_up: Callable[[str], object], name: str) -> bool:
    try:
        look_up(name)
    except (KeyError, OSError):
        return False
    return True
