"""The command line of `record`: a script in place of -e, and the command to trace."""

from __future__ import annotations

from pathlib import Path

import pytest

from ptrace_client.commands import record as record_command
from ptrace_client.errors import ClientError


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of scripts, with `known` in it; the current one is another, with here.py."""
    folder = tmp_path / "scripts"
    folder.mkdir()
    (folder / "known.py").write_text("# description: it\n")
    monkeypatch.setenv("PTRACED_SCRIPTS", str(folder))
    (tmp_path / "here.py").touch()
    monkeypatch.chdir(tmp_path)
    return folder


def values_of(line: str) -> dict[str, object]:
    """The values of record's options for a command line."""
    with record_command.declare().make_context("record", line.split()) as context:
        return context.params


@pytest.mark.parametrize(
    ("line", "script", "command", "output"),
    [
        ("-e a:b", None, "", "perf.data"),
        ("-e a:b known -x", None, "known -x", "perf.data"),
        ("-e a:b -- known -o y", None, "known -o y", "perf.data"),
        ("-o x -ea:b -- ls", None, "ls", "x"),
        ("known", "scripts/known.py", "", "perf.data"),
        ("known ls -o y", "scripts/known.py", "ls -o y", "perf.data"),
        ("known -- ls -o y", "scripts/known.py", "ls -o y", "perf.data"),
        ("-o x known --duration 3 -- ls", "scripts/known.py", "ls", "x"),
        ("known -o x ls", "scripts/known.py", "ls", "x"),
        ("here ls", "here.py", "ls", "perf.data"),
        ("./here.py", "./here.py", "", "perf.data"),
    ],
)
def test_words(folder: Path, line: str, script: str | None, command: str, output: str) -> None:
    values = values_of(line)
    if script is not None and script.startswith("scripts"):
        script = str(folder.parent / script)
    assert (values["script"], values["output"]) == (script, output)
    assert values["command"] == tuple(command.split())


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("", "say what to record: -e EVENT, or a SCRIPT that is made for events"),
        ("-o x", "say what to record"),
        ("knwon ls", r"no script knwon \(did you mean known\?\)"),
        ("./nothing.py", r"no script \./nothing\.py: there is no such file"),
    ],
)
def test_mistakes(line: str, text: str) -> None:
    with pytest.raises(ClientError, match=text):
        values_of(line)
