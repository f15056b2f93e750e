"""The ready analyses: listed, printed, and run with the options of their first line."""

from __future__ import annotations

import ast
import shlex
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from ptrace_client.analyses import Analysis, analyses, find_analysis
from ptrace_client.cli import execute
from ptrace_client.commands import run as run_command
from ptrace_client.errors import ClientError
from ptrace_client.input_options import Input, take_input
from unprivileged import PROJECT

NAMES = [analysis.name for analysis in analyses()]
# linux/binfmts.h: BINPRM_BUF_SIZE, as of Linux 5.1.
SHEBANG_MAX = 255


def options_of(*words: str) -> dict[str, object]:
    """The values of run's options for a command line."""
    with run_command.declare().make_context("run", list(words)) as context:
        return context.params


def test_all_of_the_folder_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert execute(["examples"]) == 0
    lines = capsys.readouterr().out.splitlines()
    names = sorted(path.stem for path in (PROJECT / "examples").iterdir() if path.suffix == ".py")
    assert [line.split()[0] for line in lines] == [f"@{name}" for name in names]
    (line,) = (line for line in lines if line.startswith("@wakeup-latency "))
    assert line.split(maxsplit=1)[1] == "How long tasks wait for a CPU after they were woken."


@pytest.mark.parametrize("name", ["wakeup-latency", "@wakeup-latency"])
def test_one_is_printed(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert execute(["examples", name]) == 0
    assert capsys.readouterr().out == (PROJECT / "examples/wakeup-latency.py").read_text()


@pytest.mark.parametrize("command", [["examples", "wakup-latency"], ["run", "@wakup-latency"]])
def test_an_unknown_one(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert execute(command) == 2
    assert capsys.readouterr().err == (
        "error: no example @wakup-latency (did you mean @wakeup-latency?); "
        "`ptrace-client examples` lists them\n"
    )


@pytest.mark.parametrize("name", ["..", "/etc/passwd", "../setup", ""])
def test_names_are_not_paths(name: str) -> None:
    with pytest.raises(ClientError) as caught:
        find_analysis("@" + name)
    assert str(caught.value) == f"no example @{name}; `ptrace-client examples` lists them"


@pytest.mark.parametrize("name", NAMES)
class TestEach:
    def test_it_is_a_script_that_starts_itself(self, name: str) -> None:
        file = PROJECT / f"examples/{name}.py"
        first = file.read_text().partition("\n")[0]
        assert first.startswith("#!/usr/bin/env -S ptrace-client run -e ")
        assert len(first) <= SHEBANG_MAX
        assert file.stat().st_mode & 0o111

    def test_its_options_are_those_that_env_makes_of_its_first_line(
        self, name: str, tmp_path: Path
    ) -> None:
        # GIVEN a ptrace-client that tells what it was called with
        told = tmp_path / "ptrace-client"
        told.write_text('#!/bin/sh\nprintf "%s\\0" "$@"\n')
        told.chmod(0o755)
        file = PROJECT / f"examples/{name}.py"
        path = f"{tmp_path}:/usr/bin:/bin"
        done = subprocess.run([file], env={"PATH": path}, capture_output=True, text=True)
        assert done.returncode == 0
        assert done.stdout.split("\0") == ["run", *find_analysis(name).options, str(file), ""]

    def test_its_options_are_runs(self, name: str) -> None:
        values = options_of("@" + name)
        assert values["events"]
        assert values["script"] == (str(find_analysis(name).path),)

    def test_it_is_explained(self, name: str) -> None:
        text = ast.get_docstring(ast.parse(find_analysis(name).source))
        assert text is not None
        first, blank, *rest = text.splitlines()
        assert len(first) <= 80
        assert first.endswith(".")
        assert blank == ""
        assert 5 <= len(rest) <= 20

    def test_commands_that_it_shows_are_right(self, name: str) -> None:
        text = ast.get_docstring(ast.parse(find_analysis(name).source)) or ""
        shown = text.replace("\\\n", " ").splitlines()
        for line in shown:
            if line.strip().startswith("ptrace-client run"):
                words = shlex.split(line.partition("|")[0] if " | " in line else line)
                script = options_of(*words[2:])["script"]
                assert script[0] == str(find_analysis(name).path)  # type: ignore[index]


class TestOptions:
    @pytest.fixture(autouse=True)
    def example(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        file = tmp_path / "example.py"
        file.write_text("#!/usr/bin/env -S ptrace-client run -e 'a:b/x == 1/,c:d' -i 1000\n")
        monkeypatch.setattr(
            "ptrace_client.analyses.find_analysis", lambda name: Analysis("example", file)
        )

    def test_the_first_line_has_them(self) -> None:
        values = options_of("@example")
        assert values["events"] == ("a:b/x == 1/,c:d",)
        assert take_input(values) == Input(None, 1000)

    def test_those_of_the_command_line_win(self) -> None:
        values = options_of("@example", "-i", "50", "-p", "123", "--duration", "5")
        assert values["events"] == ("a:b/x == 1/,c:d",)
        assert (values["pids"], values["duration"]) == ((123,), 5.0)
        assert take_input(values) == Input(None, 50)
        both = options_of("@example", "--interval", "50", "--input", "x.data")
        assert take_input(both) == Input("x.data", 50)

    def test_events_of_the_command_line_take_the_place_of_its_own(self) -> None:
        assert options_of("-e", "x:y", "@example", "-e", "z:z")["events"] == ("x:y", "z:z")

    def test_other_words_are_the_scripts(self) -> None:
        script = options_of("@example", "--rows", "3", "-q", "--", "-i", "7")["script"]
        assert script[1:] == ("--rows", "3", "-i", "7")  # type: ignore[index]

    def test_only_a_scripts_name_begins_with_the_sign(self) -> None:
        values = options_of("script.py", "@example")
        assert values["script"] == ("script.py", "@example")
        assert values["events"] == ()


def test_a_wheel_has_them(tmp_path: Path) -> None:
    # GIVEN what of the project goes into a wheel, as building leaves files beside it
    command = ["tar", "--exclude=.*", "--exclude=build", "-cf", "-"]
    files = ["pyproject.toml", "README.md", "LICENSE", "LICENSES"]
    folders = ["bpf", "client", "daemon", "examples", "proto"]
    packed = subprocess.run(
        [*command, *files, *folders], cwd=PROJECT, stdout=subprocess.PIPE, check=True
    )
    source = tmp_path / "source"
    source.mkdir()
    subprocess.run(["tar", "-xf", "-"], cwd=source, input=packed.stdout, check=True)

    pip = [sys.executable, "-m", "pip", "--quiet", "wheel", "--no-build-isolation", "--no-deps"]
    subprocess.run([*pip, "--wheel-dir", tmp_path, source], check=True)

    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert {f"ptrace_client/examples/{name}.py" for name in NAMES} <= set(names)
    assert any(name.endswith("/Perf/Trace/Core.py") for name in names)
