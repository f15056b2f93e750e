"""Definitions of functions: found in the source of what really runs, or not at all."""

from __future__ import annotations

import ast
import types
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

from ptrace_client.source import definition

Loader = Callable[[str], types.ModuleType]


@pytest.fixture
def load(tmp_path: Path) -> Loader:
    """Return a function that runs source text as a module of a file of its own."""

    def loaded(source: str) -> types.ModuleType:
        path = tmp_path / f"module{len(list(tmp_path.iterdir()))}.py"
        path.write_text(source)
        module = types.ModuleType("module")
        module.__dict__["__file__"] = str(path)
        exec(compile(source, str(path), "exec", dont_inherit=True), module.__dict__)
        return module

    return loaded


def found(function: types.FunctionType) -> str | None:
    node = definition(function)
    return None if node is None else ast.unparse(node)


@pytest.mark.parametrize(
    ("head", "call"),
    [
        ("import time", "time.sleep(event.pid)"),
        ("import numpy as np", "np.zeros(event.pid)"),
        ("from os import path", "path.join('a', event.comm)"),
        ("from os.path import join", "join('a', event.comm).strip()"),
        ("try:\n    import time\nexcept ImportError:\n    raise", "time.sleep(event.pid)"),
        ("from __future__ import annotations", "x: int = event.pid"),
    ],
)
def test_what_a_module_imports_does_not_hide_its_functions(
    load: Loader, head: str, call: str
) -> None:
    module = load(f"{head}\ndef handler(event):\n    {call}\n")
    assert found(module.handler) == f"def handler(event):\n    {call}"


def test_functions_of_one_name_are_told_apart(load: Loader) -> None:
    module = load(
        "import time\n"
        "def make(flag):\n"
        "    if flag:\n"
        "        def handler(event): return time.sleep(1)\n"
        "    else:\n"
        "        def handler(event): return time.sleep(2)\n"
        "    return handler\n"
        "first, second = make(True), make(False)\n"
    )
    assert found(module.first) == "def handler(event):\n    return time.sleep(1)"
    assert found(module.second) == "def handler(event):\n    return time.sleep(2)"


def test_lambdas_of_one_line_are_told_apart(load: Loader) -> None:
    module = load("both = [lambda e: e.x, lambda e: e.y]\n")
    assert [found(one) for one in module.both] == ["lambda e: e.x", "lambda e: e.y"]


def test_decorated_functions_and_those_of_classes_are_not_found(load: Loader) -> None:
    module = load(
        "def same(f): return f\n"
        "@same\n"
        "def decorated(event): pass\n"
        "class Class:\n"
        "    def inside(event): return event.__pid\n"
    )
    assert found(module.decorated) is None
    assert found(module.Class.inside) is None


@pytest.mark.parametrize(
    "text",
    [
        "import time\ndef handler(event):\n    time.sleep(2)\n",
        "\nimport time\ndef handler(event):\n    time.sleep(1)\n",
        "time = 3\ndef handler(event):\n    time.sleep(1)\n",
        "def handler(\n",
        "",
    ],
)
def test_a_file_that_changed_is_not_believed(load: Loader, text: str) -> None:
    module = load("import time\ndef handler(event):\n    time.sleep(1)\n")
    assert found(module.handler) is not None
    Path(str(module.__file__)).write_text(text)
    assert found(module.handler) is None


def test_what_python_warned_of_is_not_told_again(load: Loader) -> None:
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        module = load("def handler(event):\n    return event.pid is 1\n")
        assert found(module.handler) is not None
    assert [str(warning.message) for warning in seen] == ['"is" with a literal. Did you mean "=="?']
