"""docs/security.md: that each promise names tests, and that they exist."""

from __future__ import annotations

import re

from unprivileged import PROJECT

PROMISES = PROJECT / "docs/security.md"


def rows() -> list[list[str]]:
    """The rows of the tables of promises: what is promised, and the tests."""
    lines = PROMISES.read_text().splitlines()
    cells = (line.strip("|").split("|") for line in lines if line.startswith("|"))
    return [row for row in cells if row[0].strip() not in ("promise", "---")]


def defined() -> set[str]:
    files = (PROJECT / "tests").rglob("test_*.py")
    found = (re.findall(r"^ *def (test_\w+)", file.read_text(), re.MULTILINE) for file in files)
    return {name for names in found for name in names}


def test_each_promise_names_tests() -> None:
    assert len(rows()) > 25
    without = [promise for promise, named in rows() if not re.findall(r"`test_\w+`", named)]
    assert without == []


def test_each_test_that_is_named_exists() -> None:
    named = set(re.findall(r"\btest_\w+", PROMISES.read_text()))
    assert named - defined() == set()
