"""Rules and quotas from the tables of the configuration."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ptraced import config_values as values
from ptraced.config_files import Document, Mistake, did_you_mean, shown
from ptraced.policy.grant import Quota, Rule, StackParts, Tasks, Uprobes

_Parsers = dict[str, Callable[[Any], Any]]

_MANY = 1 << 40
QUOTA: _Parsers = {
    "sessions": values.number(1, 65536),
    "programs": values.number(1, 65536),
    "probes": values.number(0, 65536),
    "buffer_bytes": values.size(4096, _MANY),
    "events_per_second": values.number(1, _MANY),
    "bytes_per_second": values.size(1, _MANY),
    "stack_depth": values.number(0, 127),
    "stacks_per_second": values.number(0, _MANY),
    "compile_ms": values.number(1, 60_000),
    "cpu_percent": values.number(1, 100_000),
}
RULE: _Parsers = {
    "name": values.name,
    "users": values.names,
    "groups": values.names,
    "events": values.names,
    "tasks": values.member(Tasks),
    "uprobes": values.member(Uprobes),
    "stacks": values.member(StackParts),
    "kernel_addresses": values.flag,
    "remote": values.flag,
    "admin": values.flag,
}


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
                rules.append(rule)
    return tuple(rules), mistakes


def _rule(
    document: Document, number: int, table: dict[str, Any]
) -> tuple[Rule | None, list[Mistake]]:
    path = ("rule", number)
    called = f'rule "{table["name"]}"' if isinstance(table.get("name"), str) else "rule"
    quota, mistakes = load_quota(document, (*path, "quota"), table.get("quota", {}), called)
    rest = {key: value for key, value in table.items() if key != "quota"}
    settings, wrong = _settings(document, path, rest, RULE, called)
    mistakes += wrong
    if "name" not in table:
        mistakes.append(document.mistake(path, 'the rule has no name: name = "..."'))
    if mistakes:
        return None, mistakes
    return Rule(place=document.place(*path), quota=quota, **settings), []


def load_quota(
    document: Document, path: tuple[str | int, ...], table: Any, called: str
) -> tuple[Quota, list[Mistake]]:
    """The limits of a table, and what is wrong with them."""
    if not isinstance(table, dict):
        return Quota(), [document.mistake(path, f"{called}: quota must be a table of limits")]
    settings, mistakes = _settings(document, path, table, QUOTA, called, "quota.")
    return Quota(**settings), mistakes


def _settings(
    document: Document,
    path: tuple[str | int, ...],
    table: dict[str, Any],
    parsers: _Parsers,
    called: str,
    prefix: str = "",
) -> tuple[dict[str, Any], list[Mistake]]:
    settings, mistakes = {}, []
    for key, value in table.items():
        if key not in parsers:
            what = f"is not a setting{did_you_mean(key, parsers)}"
        else:
            try:
                settings[key] = parsers[key](value)
                continue
            except ValueError as error:
                what = f"{error}, not {shown(value)}"
        mistakes.append(document.mistake((*path, key), f"{called}: {prefix}{key} {what}"))
    return settings, mistakes
