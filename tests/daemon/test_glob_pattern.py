"""Globs as the kernel's glob_match() reads them."""

from __future__ import annotations

import pytest

from ptraced.glob_pattern import ANY, Item, Pattern, glob, literal


def item(text: str) -> Item:
    return tuple((ord(low), ord(high)) for low, high in zip(text[::2], text[1::2], strict=True))


A, B = item("aa"), item("bb")


@pytest.mark.parametrize(
    ("text", "items", "stars"),
    [
        ("", (), set()),
        ("ab", (A, B), set()),
        ("*", (), {0}),
        ("a*b", (A, B), {1}),
        ("**a**", (A,), {0, 1}),
        ("a?", (A, ANY), set()),
        ("[a-c]", (item("ac"),), set()),
        ("[ac-eg]", (item("aaccddeegg")[:1] + item("ce") + item("gg"),), set()),
        ("[ab]", (item("ab"),), set()),
        ("[]a]", (item("]]aa"),), set()),
        ("[a-]", (item("--aa"),), set()),
        ("[c-a]", ((),), set()),
        ("[!a]", (((1, 96), (98, 255)),), set()),
        ("[!]]", (((1, 92), (94, 255)),), set()),
        # Not closed: an ordinary bracket.
        ("[a", (item("[["), A), set()),
        ("[]", (item("[["), item("]]")), set()),
        ("[!", (item("[["), item("!!")), set()),
        ("\\*a", (item("**"), A), set()),
        ("\\[a]", (item("[["), A, item("]]")), set()),
        ("a\\", (A, item("\\\\")), set()),
    ],
)
def test_glob(text: str, items: tuple[Item, ...], stars: set[int]) -> None:
    assert glob(text.encode()) == Pattern(items, frozenset(stars))


def test_literal_has_no_special_characters() -> None:
    assert literal(b"*a") == Pattern((item("**"), A), frozenset())


@pytest.mark.parametrize(
    ("text", "fixed", "open_ended"),
    [("ab", True, False), ("ab*", True, True), ("a*b", False, False), ("*ab*", False, True)],
)
def test_where_items_can_match(text: str, fixed: bool, open_ended: bool) -> None:
    pattern = glob(text.encode())

    assert (pattern.fixed, pattern.open_ended) == (fixed, open_ended)
