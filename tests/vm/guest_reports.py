"""In the machine: sends the reports of pytest to the host, each as a line of JSON.

Loaded as `-p vm.guest_reports`. The lines are pytest's own serialized reports, and
{"collected": N}, {"started": NODEID, "location": LOCATION}, {"finished": EXIT_STATUS}.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

# Where a test puts it that has no machine.
_PORT = Path(os.environ.get("VM_REPORTS", "/run/vm/ports/reports"))


class Sender:
    """Writes what pytest tells of a session into the port."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._port = _PORT.open("w")

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self._send_report(report)

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self._send({"collected": len(session.items)})

    def pytest_runtest_logstart(self, nodeid: str, location: object) -> None:
        self._send({"started": nodeid, "location": location})

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._send_report(report)

    def pytest_sessionfinish(self, exitstatus: int) -> None:
        self._send({"finished": int(exitstatus)})

    def _send_report(self, report: pytest.CollectReport | pytest.TestReport) -> None:
        hook = self._config.hook.pytest_report_to_serializable
        self._send(hook(config=self._config, report=report))

    def _send(self, message: object) -> None:
        print(json.dumps(message), file=self._port, flush=True)


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Sender(config))
