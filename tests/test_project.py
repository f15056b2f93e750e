"""Rules of the tree that no single module's test would see broken."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

import ptrace_client
import ptraced

PROJECT = Path(__file__).resolve().parent.parent
LICENCE = "// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0\n"

# Not of the tree: what tools put there, as .gitignore lists it.
_MADE = {
    line.rstrip("/").removeprefix("*")
    for line in (PROJECT / ".gitignore").read_text().splitlines()
    if line
}
# Somebody's home, or the directory that this checkout happens to be in.
_PRIVATE_PATH = re.compile(
    rb"(?<![\w.<])/(?:home|Users)/[\w.-]+|" + re.escape(os.fsencode(PROJECT)) + rb"(?![\w-])"
)


def _files() -> Iterator[Path]:
    for directory, children, names in os.walk(PROJECT):
        children[:] = [name for name in children if name != ".git" and not _is_made(name)]
        yield from (Path(directory, name) for name in names if not _is_made(name))


def _is_made(name: str) -> bool:
    return name in _MADE or any(name.endswith(made) for made in _MADE if made.startswith("."))


def _imports(file: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_bytes())):
        if isinstance(node, ast.Import):
            names.update(alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.partition(".")[0])
    return names


def test_generated_code_is_current() -> None:
    done = subprocess.run(
        [PROJECT / "proto/generate", "--check"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_bpf_programs_carry_the_dual_licence() -> None:
    files = [path for path in (PROJECT / "bpf").iterdir() if path.suffix in (".c", ".h")]
    assert files
    wrong = [path.name for path in files if not path.read_text().startswith(LICENCE)]
    assert wrong == []


def test_there_is_one_version() -> None:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    assert {project["version"], ptraced.__version__, ptrace_client.__version__} == {
        project["version"]
    }
    assert f"## {project['version']}" in (PROJECT / "CHANGELOG.md").read_text()


@pytest.mark.parametrize(
    ("package", "stranger"),
    [("daemon/ptraced", "ptrace_client"), ("client/ptrace_client", "ptraced")],
)
def test_daemon_and_client_share_nothing_but_the_contract(package: str, stranger: str) -> None:
    files = list((PROJECT / package).rglob("*.py"))
    assert files
    wrong = [path.name for path in files if stranger in _imports(path)]
    assert wrong == []


def test_the_client_needs_no_bcc() -> None:
    files = (PROJECT / "client").rglob("*.py")
    assert [path.name for path in files if "bcc" in _imports(path)] == []


def test_no_file_names_a_place_of_one_machine() -> None:
    found = []
    for file in _files():
        for number, line in enumerate(file.read_bytes().splitlines(), 1):
            if match := _PRIVATE_PATH.search(line):
                found.append(f"{file.relative_to(PROJECT)}:{number}: {match[0].decode()}")
    assert found == []


def test_pins_cover_what_the_project_asks_for() -> None:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    asked = [*project["dependencies"], *project["optional-dependencies"]["daemon"]]
    pins = re.findall(r"^([\w-]+)==", (PROJECT / "requirements.txt").read_text(), re.MULTILINE)
    assert {re.split(r"[<>=]", name)[0] for name in asked} - set(pins) == set()
