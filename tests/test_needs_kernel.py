"""A test that needs what the machine lacks is skipped, and fails where CI promises that."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ptraced.check import checks
from ptraced.config import Config

TESTS = Path(__file__).resolve().parent

SUITE = """
import conftest, pytest
conftest._features = lambda: {"here": True, "not here": False}

@pytest.mark.needs_kernel("here")
def test_here(): pass

@pytest.mark.needs_kernel("here", "not here")
def test_not_here(): pass

@pytest.mark.needs_kernel("nonsense")
def test_nonsense(): pass
"""


def run_suite(directory: Path, promised: str) -> list[str]:
    (directory / "test_suite.py").write_text(SUITE)
    argv = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "conftest",
        "-p",
        "no:cacheprovider",
        "-ra",
        "-Wignore",
    ]
    done = subprocess.run(
        [*argv, "-c", os.devnull, f"--rootdir={directory}", str(directory)],
        capture_output=True,
        text=True,
        check=False,
        cwd=directory,
        env={**os.environ, "PYTHONPATH": str(TESTS), "PTRACED_FEATURES": promised},
    )
    summary = done.stdout.partition("short test summary info")[2]
    return summary.splitlines()[1:]


def test_a_lacking_feature_skips_its_test(tmp_path: Path) -> None:
    skipped, failed, closing = run_suite(tmp_path, promised="here\n")
    assert skipped.startswith("SKIPPED [1] ")
    assert skipped.endswith("this machine lacks: not here")
    assert failed.startswith("ERROR test_suite.py::test_nonsense")
    assert failed.endswith("`ptraced --check` knows no nonsense")
    assert "1 passed, 1 skipped, 1 error" in closing


def test_a_promised_feature_fails_its_test(tmp_path: Path) -> None:
    failed, *_, closing = run_suite(tmp_path, promised="here\nnot here\n")
    assert failed.startswith("ERROR test_suite.py::test_not_here")
    assert failed.endswith("CI's machine should have: not here")
    assert "1 passed, 2 errors" in closing


def test_ci_promises_only_what_the_check_knows(request: pytest.FixtureRequest) -> None:
    known = {check.name for check in checks(Config())}
    promised = (request.config.rootpath / ".ci/features").read_text().splitlines()
    assert promised
    assert set(promised) <= known
