"""The Debian package: built, installed in a root that is thrown away, tried, and removed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import ptraced
from unprivileged import PROJECT

pytestmark = pytest.mark.needs_kernel("tracefs", "BPF programs", "BCC", "kernel headers")

STEPS = Path(__file__).with_name("package_steps.sh")


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package, without compiled Python, which takes longer than all the rest."""
    folder = tmp_path_factory.mktemp("package")
    build = [sys.executable, PROJECT / "deploy/package/build", "--no-bytecode", folder]
    subprocess.run(build, check=True)
    (found,) = folder.glob("*.deb")
    return found


@pytest.fixture(scope="module")
def steps(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with what each step said."""
    folder = tmp_path_factory.mktemp("steps")
    (folder / "root").mkdir()
    command = ["unshare", "--mount", "sh", STEPS, folder, package]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    said = "".join(file.read_text() for file in sorted(folder.glob("*.err")))
    assert done.returncode == 0, done.stderr + said
    return folder


def test_its_name_tells_version_and_architecture(package: Path) -> None:
    architecture = os.popen("dpkg --print-architecture").read().strip()
    assert package.name == f"ptraced_{ptraced.__version__}_{architecture}.deb"


def test_files_are_roots_and_nobody_else_can_write_them(package: Path) -> None:
    listed = subprocess.run(["dpkg-deb", "-c", package], capture_output=True, text=True, check=True)
    for line in listed.stdout.splitlines():
        mode, owner, _, _, _, name, *_ = line.split()
        assert owner == "root/root", line
        assert mode[0] in "-dl", line
        assert mode[0] == "l" or (mode[5] == mode[8] == "-"), line
        assert not set(mode) & set("sStT"), line
        executable = mode[0] == "-" and "x" in mode
        assert executable == bool(re.fullmatch(r"\./usr/bin/[\w-]+", name)), line


def test_the_file_of_administrators_is_a_conffile(package: Path) -> None:
    shown = subprocess.run(
        ["dpkg-deb", "-I", package, "conffiles"], capture_output=True, text=True, check=True
    )
    assert shown.stdout == "/etc/ptraced/ptraced.toml\n"


def test_installed_commands_run(steps: Path) -> None:
    version = ptraced.__version__
    assert (steps / "version").read_text() == (
        f"ptraced, version {version}\nptrace-client {version}\n"
    )
    assert (steps / "check").read_text().endswith("tracepoints can be traced\n")


def test_manual_pages_tell_all_commands_and_settings(steps: Path) -> None:
    manual = (steps / "manual").read_text()
    for word in ("PTRACED(8)", "--check", "PTRACED.TOML(5)", "queue_bytes", "events_per_second"):
        assert word in manual
    for word in ("PTRACE-CLIENT(1)", "ptrace-client run", "ptrace-client sessions", "--duration"):
        assert word in manual
    for word in ("ptrace-client record", "PTRACED_SCRIPTS", "perf.data.old", "134"):
        assert word in manual


def test_command_lines_are_completed(steps: Path) -> None:
    assert (steps / "completion").read_text() == "status\n"


def test_users_and_directories_are_made(steps: Path) -> None:
    users = (steps / "users").read_text()
    assert re.search(r"^uid=\d+\(ptraced\) gid=\d+\(ptraced\) groups=.*\(ptrace\)", users)
    assert "\nptrace-admin:x:" in users
    assert users.splitlines()[2:] == [
        "755 ptraced:ptraced /run/ptraced",
        "700 ptraced:ptraced /var/lib/ptraced",
        "750 ptraced:ptraced /var/log/ptraced",
        "644 root:root /etc/ptraced/ptraced.toml",
    ]


def test_the_installed_daemon_traces_as_its_own_user(steps: Path) -> None:
    assert (steps / "traced").read_text().count("sched:sched_switch") == 5


def test_nothing_is_left_after_a_purge(steps: Path) -> None:
    before, after = (set((steps / name).read_text().split("\n")) for name in ("before", "after"))
    installed = set((steps / "installed").read_text().split("\n"))
    assert len(installed - before) > 1000
    # Users and groups stay: files may still be theirs.
    left = {name for name in after - before if not re.fullmatch(r"etc/(\.pwd\.lock|\w+-)", name)}
    assert left == set()
