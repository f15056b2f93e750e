"""Which words of `run`'s command line are its own, and which the script's."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import click


def split_arguments(
    words: Sequence[str], parameters: Iterable[click.Parameter]
) -> tuple[list[str], list[str]]:
    """Return (words for run's own options, the script and its arguments), as perf-prof does.

    Known options are taken wherever they stand, also behind the script, until a `--`: all that
    follows it is the script's. So are words behind the script that look like options and are
    not known; before the script they stay in the first list, for click to complain about.
    """
    own, script, behind = split_at_dashes(words, parameters)
    return own, script + (behind or [])


def split_at_dashes(
    words: Sequence[str], parameters: Iterable[click.Parameter]
) -> tuple[list[str], list[str], list[str] | None]:
    """Return the same, with what follows a `--` apart; None where there is none."""
    flags, valued = _spellings(parameters)
    own: list[str] = []
    script: list[str] = []
    left = list(words)
    while left:
        word = left.pop(0)
        if word == "--":
            return own, script, left
        values = _values_that_follow(word, flags, valued)
        if word == "-" or not word.startswith("-") or (values is None and script):
            script.append(word)
            continue
        own.append(word)
        if values:
            own += left[:1]
            del left[:1]
    return own, script, None


def split_before_word(
    words: Sequence[str], parameters: Iterable[click.Parameter]
) -> tuple[list[str], list[str]]:
    """Return (options, the words from the first one on that is none), as `perf record` does.

    A `--` between them belongs to neither.
    """
    flags, valued = _spellings(parameters)
    left = list(words)
    own: list[str] = []
    while left and left[0] != "--" and left[0].startswith("-"):
        own.append(left.pop(0))
        if _values_that_follow(own[-1], flags, valued):
            own += left[:1]
            del left[:1]
    return own, left[1:] if left[:1] == ["--"] else left


def _spellings(parameters: Iterable[click.Parameter]) -> tuple[set[str], set[str]]:
    """Return the option names that stand alone and those that a value follows."""
    flags: set[str] = set()
    valued: set[str] = set()
    for parameter in parameters:
        if isinstance(parameter, click.Option):
            alone = parameter.is_flag or parameter.count
            (flags if alone else valued).update(parameter.opts, parameter.secondary_opts)
    return flags, valued


def _values_that_follow(word: str, flags: set[str], valued: set[str]) -> int | None:
    """Return how many words after `word` belong to it (0 or 1), None for an unknown option."""
    if word.startswith("--"):
        name, equals, _ = word.partition("=")
        if name in valued:
            return 0 if equals else 1
        return 0 if name in flags else None
    for place, letter in enumerate(word[1:], start=2):
        if f"-{letter}" in valued:
            return 0 if place < len(word) else 1
        if f"-{letter}" not in flags:
            return None
    return 0
