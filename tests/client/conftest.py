"""Fixtures for tests that load scripts."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ptrace_client.script import Script, load_script

LoadSource = Callable[..., Script]


@pytest.fixture
def interpreter(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Put back what loading a script changes: sys.path, sys.argv and sys.modules."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "argv", list(sys.argv))
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        del sys.modules[name]


@pytest.fixture
def load_source(tmp_path: Path, interpreter: None) -> LoadSource:
    """Return a function that loads source text as the script script.py."""

    def load(source: str, *args: str) -> Script:
        path = tmp_path / "script.py"
        path.write_text(source)
        return load_script(str(path), args)

    return load
