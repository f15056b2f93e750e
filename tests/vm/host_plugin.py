"""On the host: tests that this kernel cannot run, or not alone, run on Debian's (pytest --vm).

One machine is booted when the host's own tests are done, so that they need not share the CPUs
with an emulator. Its reports are counted and printed as if the tests had run here, under
linux-RELEASE/.
"""

from __future__ import annotations

import json
import os
import platform
import select
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from vm.debian_kernel import DebianKernel, VmError
from vm.machine import Machine

HERE = Path(__file__).parent
# What `ptraced --check` finds in the machine: a test fails there that needs one and lacks it.
FEATURES = frozenset((HERE / "features").read_text().splitlines())

# Seconds without any report, after which a test hangs: several times what the slowest takes.
SILENCE = 300.0
# Seconds that the whole may take.
LIMIT = 1800.0


def add_options(parser: pytest.Parser) -> None:
    group = parser.getgroup("virtual machine")
    group.addoption(
        "--vm", action="store_true", help="run tests on Debian's kernel, too (tests/vm)"
    )
    group.addoption("--vm-only", action="store_true", help="run just these")


def selected() -> list[str]:
    """Files and tests that run on both kernels."""
    lines = (HERE / "selection").read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


class GuestTests:
    """Takes tests out of a session that the machine runs, and puts their reports into it.

    `lacking` names the features that a test needs and this host does not have.
    """

    def __init__(self, config: pytest.Config, lacking: Callable[[pytest.Item], list[str]]) -> None:
        self._config = config
        self._lacking = lacking
        self._only = config.getoption("--vm-only")
        self._asked: list[str] = []

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        if platform.machine() != "x86_64":
            return
        moved = [item for item in items if self._belongs_to_guest(item)]
        both = tuple(selected())
        also = [item for item in items if _is_selected(item.nodeid, both)]
        # Parameters may depend on the kernel: the machine finds its own.
        names = (_function(item.nodeid) for item in (*moved, *also))
        self._asked = list(dict.fromkeys(names))
        items[:] = [] if self._only else [item for item in items if item not in moved]

    def _belongs_to_guest(self, item: pytest.Item) -> bool:
        needs = set(self._lacking(item))
        return bool(needs) and needs <= FEATURES

    @pytest.hookimpl(wrapper=True, trylast=True)
    def pytest_runtestloop(self, session: pytest.Session) -> Generator[None, object, object]:
        result = yield
        if self._asked and not self._config.option.collectonly:
            with tempfile.NamedTemporaryFile("r", prefix="vm.", errors="replace") as output:
                _Replay(session, self._asked).run(Path(output.name))
        return result


class _Replay:
    """Runs tests in a machine, and logs their reports in a session of the host."""

    def __init__(self, session: pytest.Session, asked: Sequence[str]) -> None:
        self._session = session
        self._config = session.config
        self._asked = asked
        self._place = "linux"
        self._running = "its start"
        self._seen: set[str] = set()
        self._finished = False

    def run(self, output: Path) -> None:
        """Run them all; whatever keeps one from a report of its own is logged as a failure."""
        try:
            self._place = f"linux-{DebianKernel.newest().release}"
            with output.open("w") as stdout:
                self._run(stdout.fileno())
            lost = [name for name in self._asked if name not in self._seen]
            if lost or not self._finished:
                self._fail("\n".join(["without a report:", *lost, output.read_text()]))
        except VmError as error:
            self._fail(f"{error}\n{output.read_text()}")

    def _run(self, stdout: int) -> None:
        read, write = os.pipe()
        try:
            outputs = {"stdout": stdout, "stderr": stdout, "reports": write}
            with Machine(self._command(), outputs, environment=self._environment()) as machine:
                os.close(write)
                for message in _messages(read):
                    self._log(message)
                machine.wait(timeout=60.0)
        except TimeoutError as error:
            raise VmError(f"{error} since {self._running}") from None
        finally:
            os.close(read)

    def _command(self) -> list[str]:
        plugins = ["-p", "vm.guest_reports", "-p", "no:cacheprovider"]
        return [sys.executable, "-m", "pytest", *plugins, *self._asked]

    def _environment(self) -> dict[str, str]:
        promised = "\n".join(sorted(FEATURES))
        return {
            "PYTHONPATH": str(HERE.parent),
            "PTRACED_FEATURES": promised,
            # The host's /tmp may be full of what pytest would tidy up.
            "TMPDIR": "/dev/shm",
        }

    def _log(self, message: dict[str, Any]) -> None:
        hook = self._config.hook
        match message:
            case {"collected": int(number)}:
                self._session.testscollected += number
            case {"started": str(name), "location": location}:
                self._running = name
                self._seen.add(_function(name))
                hook.pytest_runtest_logstart(nodeid=f"{self._place}/{name}", location=location)
            case {"finished": _}:
                self._finished = True
            case {"$report_type": str(kind), "nodeid": str(name)}:
                message["nodeid"] = f"{self._place}/{name}"
                if message["outcome"] == "skipped":
                    # JSON has no tuples.
                    message["longrepr"] = tuple(message["longrepr"])
                report = hook.pytest_report_from_serializable(config=self._config, data=message)
                if kind == "CollectReport":
                    hook.pytest_collectreport(report=report)
                else:
                    hook.pytest_runtest_logreport(report=report)

    def _fail(self, reason: str) -> None:
        """Log a failure of the machine itself."""
        self._session.testscollected += 1
        report = pytest.TestReport(
            nodeid=f"{self._place}/tests/vm::machine",
            location=("tests/vm/host_plugin.py", 0, "virtual machine"),
            keywords={},
            outcome="failed",
            longrepr=reason,
            when="call",
        )
        self._config.hook.pytest_runtest_logreport(report=report)


def _messages(pipe: int) -> Iterator[dict[str, Any]]:
    """What the machine reports, until its end; raises TimeoutError where it falls silent."""
    end = time.monotonic() + LIMIT
    pending = b""
    while True:
        wait = min(SILENCE, end - time.monotonic())
        if wait <= 0 or not select.select([pipe], [], [], wait)[0]:
            raise TimeoutError(f"no report for {max(wait, 0):.0f} s")
        data = os.read(pipe, 1 << 16)
        if not data:
            return
        *lines, pending = (pending + data).split(b"\n")
        yield from map(json.loads, lines)


def _function(nodeid: str) -> str:
    return nodeid.partition("[")[0]


def _is_selected(nodeid: str, selection: Iterable[str]) -> bool:
    name = _function(nodeid)
    return any(name == entry or name.startswith(f"{entry}::") for entry in selection)
