"""Errors that point at a place."""

from __future__ import annotations

import pytest

from ptraced.diagnostics import bounded, nearest, pointed, printable


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("pidd", " (did you mean 'pid'?)"),
        ("pid", " (did you mean 'pid'?)"),
        ("zzz", ""),
        ("", ""),
        ("pid" * 1000, ""),
    ],
)
def test_nearest(name: str, hint: str) -> None:
    assert nearest(name, ["comm", "pid", "prio"]) == hint


def test_printable_leaves_no_control_characters() -> None:
    text = "a\x1b[2J\n\r\t\x00\x7f\u202e\u00e9\u4e2d"

    assert printable(text) == "a\\x1b[2J\\n\\r\\t\\x00\\x7f\\u202e\u00e9\u4e2d"


@pytest.mark.parametrize(
    ("line", "span", "shown", "carets"),
    [
        ("abc def", (4, 7), "abc def", "    ^~~"),
        ("abc", (0, 1), "abc", "^"),
        ("abc", (3, 3), "abc", "   ^"),
        ("abc", (3, 4), "abc", "   ^"),
        ("\x1b def", (2, 5), "\\x1b def", "     ^~~"),
        ("a\ndef", (1, 2), "a\\ndef", " ^~"),
        # A terminal shows these two columns wide, and the combining accent none.
        ("\u4e2d\u6587 def", (3, 6), "\u4e2d\u6587 def", "     ^~~"),
        ("e\u0301 def", (3, 6), "e\u0301 def", "  ^~~"),
    ],
)
def test_pointed(line: str, span: tuple[int, int], shown: str, carets: str) -> None:
    assert pointed("what", line, *span) == f"error: what\n  {shown}\n  {carets}"


def test_long_lines_are_cut_around_the_place() -> None:
    line = "x" * 1000 + "HERE" + "y" * 1000

    block = pointed("what", line, 1000, 1004)

    cut = "..." + "x" * 60 + "HERE" + "y" * 60 + "..."
    assert block == f"error: what\n  {cut}\n  {' ' * 63}^~~~"


def test_long_places_are_cut() -> None:
    block = pointed("what", "x" * 1000, 10, 990)

    assert block == f"error: what\n  {'x' * 130}...\n  {' ' * 10}^{'~' * 119}"


def test_of_much_text_there_is_the_beginning_and_what_is_pointed_at() -> None:
    name = "a" * 20_000
    message = pointed(f"no '{name}' here", f"sys:{name}/x/", 4, 20_004)

    first, line, caret = bounded(message).split("\n")

    assert first == f"error: no '{'a' * 589}...{first.rpartition('...')[2]}"
    assert first.endswith("aaa' here")
    assert [line, caret] == message.split("\n")[1:]
    assert len(bounded(message)) == 1603
    assert bounded("a" * 4000) == "a" * 4000
