"""Reports of tests that ran in a machine count as if they had run here; a lost one is a failure."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from vm import host_plugin

TESTS = Path(__file__).resolve().parent.parent
CI_MARKS = {"CI", "BUILD_NUMBER"}

# A machine that is this host: it has kprobes, and a host that has not asks it.
MACHINE = """
import os, subprocess, types
import conftest, pytest
from vm import host_plugin
from vm.debian_kernel import DebianKernel, VmError

inside = "VM_REPORTS" in os.environ
conftest._features = lambda: {"tracefs": True, "kprobes": inside, "hardware counters": False}

class Machine:
    def __init__(self, command, outputs, *, environment):
        port = {"VM_REPORTS": f"/dev/fd/{outputs['reports']}"}
        self.process = subprocess.Popen(
            command, stdout=outputs["stdout"], stderr=outputs["stderr"],
            env={**os.environ, **environment, **port}, pass_fds=[outputs["reports"]],
        )
    def __enter__(self):
        return self
    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
    def wait(self, timeout):
        return self.process.wait(timeout)

host_plugin.Machine = Machine
host_plugin.SILENCE = 5.0
host_plugin.selected = lambda: ["test_suite.py::test_on_both"]
DebianKernel.newest = lambda: types.SimpleNamespace(release="6.1")
"""
SUITE = """
@pytest.mark.needs_kernel("kprobes")
@pytest.mark.parametrize("what", ["passes", "fails", "skips"])
def test_there(what):
    assert inside
    assert what != "fails", "for a reason"
    if what == "skips":
        pytest.skip("it may")

@pytest.mark.needs_kernel("tracefs", "kprobes")
def test_there_as_well():
    assert inside

@pytest.mark.needs_kernel("tracefs")
def test_here():
    assert not inside

@pytest.mark.needs_kernel("kprobes", "hardware counters")
def test_nowhere(): pass

def test_on_both(): pass
"""
LOST = """
@pytest.mark.needs_kernel("kprobes")
def test_that_ends_all(): os._exit(3)

@pytest.mark.needs_kernel("kprobes")
def test_behind_it(): pass
"""
HANGING = """
import signal
host_plugin.SILENCE = 2.0

@pytest.mark.needs_kernel("kprobes")
def test_that_hangs(): signal.pause()
"""
NO_MACHINE = """
def nothing(*_, **__):
    raise VmError("no machine: get one")

host_plugin.Machine = nothing

@pytest.mark.needs_kernel("kprobes")
def test_there(): pass
"""


def run_suite(directory: Path, suite: str, *options: str) -> tuple[int, str]:
    """Run a suite as a host would; returns the exit status and what pytest printed.

    CI and BUILD_NUMBER have pytest fold nothing in its summary: lines would differ there.
    """
    (directory / "test_suite.py").write_text(MACHINE + suite)
    everywhere = f"-p conftest -p no:cacheprovider -Wignore -c {os.devnull} --rootdir={directory}"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-ra", *options],
        capture_output=True,
        text=True,
        check=False,
        cwd=directory,
        env={
            **{name: text for name, text in os.environ.items() if name not in CI_MARKS},
            "PYTHONPATH": str(TESTS),
            "PYTEST_ADDOPTS": everywhere,
            "PTRACED_FEATURES": "",
        },
    )
    assert done.stderr == ""
    return done.returncode, done.stdout


def summary(printed: str) -> list[str]:
    return printed.partition("short test summary info")[2].splitlines()[1:]


def test_both_reports_are_one(tmp_path: Path) -> None:
    status, printed = run_suite(tmp_path, SUITE, "--vm")
    skipped_here, skipped_there, failed, closing = summary(printed)
    assert skipped_here.endswith("this machine lacks: kprobes, hardware counters")
    assert skipped_there.endswith(": it may")
    assert failed == (
        "FAILED linux-6.1/test_suite.py::test_there[fails] - AssertionError: for a reason"
    )
    assert "1 failed, 5 passed, 2 skipped" in closing
    assert "test_suite.py .s." in printed
    assert "linux-6.1/test_suite.py .Fs.." in printed
    assert status == pytest.ExitCode.TESTS_FAILED


def test_only_the_machine(tmp_path: Path) -> None:
    status, printed = run_suite(tmp_path, SUITE, "--vm-only", "-k", "as_well or on_both")
    assert "2 passed" in printed
    assert "linux-6.1/test_suite.py .." in printed
    assert status == pytest.ExitCode.OK


def test_without_the_machine(tmp_path: Path) -> None:
    status, printed = run_suite(tmp_path, SUITE)
    assert "this machine lacks: kprobes; make test-vm" in printed
    assert "2 passed, 5 skipped" in printed
    assert status == pytest.ExitCode.OK


def test_a_machine_that_goes_down(tmp_path: Path) -> None:
    status, printed = run_suite(tmp_path, LOST, "--vm")
    assert "without a report:\ntest_suite.py::test_behind_it\n" in printed
    assert "FAILED linux-6.1/tests/vm::machine" in printed
    assert status == pytest.ExitCode.TESTS_FAILED


def test_a_machine_that_falls_silent(tmp_path: Path) -> None:
    status, printed = run_suite(tmp_path, HANGING, "--vm")
    assert "no report for 2 s since test_suite.py::test_that_hangs\n" in printed
    assert status == pytest.ExitCode.TESTS_FAILED


def test_no_machine_is_a_failure(tmp_path: Path) -> None:
    status, printed = run_suite(tmp_path, NO_MACHINE, "--vm")
    assert "no machine: get one\n" in printed
    assert "1 failed" in summary(printed)[-1]
    assert status == pytest.ExitCode.TESTS_FAILED


def test_what_is_selected_is_there() -> None:
    lost = []
    for entry in host_plugin.selected():
        file, _, function = entry.partition("::")
        path = TESTS.parent / file
        if not path.exists() or (f"def {function}(" not in path.read_text() and function):
            lost.append(entry)
    assert lost == []
