"""What all tests share: the marker of those that need a feature of the kernel."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator

# gRPC would start threads in children that are forked here, whose descriptors are closed. It
# reads this when it is imported.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

import pytest

from ptraced.check import checks
from ptraced.config import Config
from vm import host_plugin


@pytest.fixture(autouse=True)
def _perfs_own_modules() -> Iterator[None]:
    """Have perf find its modules again: a script that was run in this process changed where."""
    before = os.environ.get("PERF_EXEC_PATH")
    yield
    if before is None:
        os.environ.pop("PERF_EXEC_PATH", None)
    else:
        os.environ["PERF_EXEC_PATH"] = before


@functools.cache
def _features() -> dict[str, bool]:
    """What `ptraced --check` finds, by name."""
    return {check.name: check.state == "ok" for check in checks(Config())}


def _promised() -> list[str]:
    return os.environ.get("PTRACED_FEATURES", "").splitlines()


def _needed(item: pytest.Item) -> list[str]:
    return [name for mark in item.iter_markers("needs_kernel") for name in mark.args]


def _lacking(item: pytest.Item) -> list[str]:
    """What a test needs and this kernel does not have,."""
    return [name for name in _needed(item) if not _features().get(name, True)]


def pytest_addoption(parser: pytest.Parser) -> None:
    host_plugin.add_options(parser)


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--vm") or config.getoption("--vm-only"):
        config.pluginmanager.register(host_plugin.GuestTests(config, _lacking))


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test where the kernel lacks what it needs; fail it where CI promises that."""
    needed = _needed(item)
    unknown = [name for name in needed if name not in _features()]
    if unknown:
        pytest.fail(f"`ptraced --check` knows no {', '.join(unknown)}", pytrace=False)
    lacking = [name for name in needed if not _features()[name]]
    broken = [name for name in lacking if name in _promised()]
    if broken:
        pytest.fail(f"CI's machine should have: {', '.join(broken)}", pytrace=False)
    if lacking:
        hint = "; make test-vm" if host_plugin.FEATURES.issuperset(lacking) else ""
        pytest.skip(f"this machine lacks: {', '.join(lacking)}{hint}")
