"""Commands run as another user keep no privilege, and reach the project wherever it lies."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from unprivileged import DAEMON_CAPABILITIES, NOBODY, PROJECT, as_user


def run(argv: list[str], cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(argv, capture_output=True, text=True, check=False, cwd=cwd)


def status_of(argv: list[str]) -> dict[str, str]:
    status = run(argv).stdout
    return dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)


def test_user_group_and_capabilities_are_gone() -> None:
    lines = status_of(as_user(["cat", "/proc/self/status"], uid=4711))
    assert lines["Uid"] == "4711\t4711\t4711\t4711"
    assert lines["Gid"] == "4711\t4711\t4711\t4711"
    assert lines["Groups"].split() == []
    assert {lines[name] for name in ("CapInh", "CapPrm", "CapEff", "CapAmb")} == {"0" * 16}
    assert lines["NoNewPrivs"] == "1"


def test_named_capabilities_are_kept_and_no_others() -> None:
    lines = status_of(as_user(["cat", "/proc/self/status"], caps=DAEMON_CAPABILITIES))
    assert lines["Uid"].split()[0] == str(NOBODY)
    capabilities = {lines[name] for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")}
    assert capabilities == {f"{1 << 39 | 1 << 38 | 1 << 2:016x}"}


def test_this_projects_interpreter_and_packages_are_readable() -> None:
    code = "import ptrace_client, numpy, grpc; print(ptrace_client.__file__)"
    done = run(as_user([sys.executable, "-c", code]), cwd=Path("/"))
    assert (done.stdout, done.stderr) == (f"{PROJECT}/client/ptrace_client/__init__.py\n", "")


def test_the_status_and_the_arguments_are_passed_on() -> None:
    done = run(as_user(["sh", "-c", 'printf "%s|" "$@"; exit 7', "sh", "a b", "$c", ""]))
    assert (done.returncode, done.stdout) == (7, "a b|$c||")


def copy_of_the_script(project: Path) -> str:
    (project / "deploy").mkdir(parents=True)
    project.chmod(0o755)
    return shutil.copy(PROJECT / "deploy/as-user", project / "deploy")


def test_a_project_in_a_closed_home_is_seen_alone_and_at_its_path(tmp_path: Path) -> None:
    home = tmp_path / "a home"
    script = copy_of_the_script(home / "my project")
    (home / "my project/file").write_text("here")
    (home / "secret").write_text("hidden")
    home.chmod(0o700)

    look = 'pwd; cat file; ls -A ..; echo x 2>/dev/null >../new || echo "not writable"'
    done = run([script, str(NOBODY), "sh", "-c", look], cwd=home / "my project")

    assert (done.stdout, done.stderr) == (
        f"{home}/my project\nheremy project\nnot writable\n",
        "",
    )
    assert sorted(os.listdir(home)) == ["my project", "secret"]


def test_a_project_that_is_closed_itself_is_told() -> None:
    with tempfile.TemporaryDirectory() as name:
        project = Path(name) / "closed"
        script = copy_of_the_script(project)
        Path(name).chmod(0o755)
        project.chmod(0o700)
        done = run([script, str(NOBODY), "true"])
    assert (done.returncode, done.stderr) == (
        1,
        f"as-user: {project} itself is closed to user {NOBODY}: chmod go+rx it\n",
    )
