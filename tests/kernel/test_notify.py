"""A daemon under systemd tells it how it is: ready, alive, reloading, stopping."""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path

from leftovers import children_of, wait_until
from processes import Daemon

# Seconds that something may take which happens at once.
SOON = 60.0


def test_systemd_is_told_of_all_that_it_waits_for(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(SOON)

        def next_state() -> str:
            """What is told next, but for all being well."""
            while (said := systemd.recv(4096).decode()) == "WATCHDOG=1":
                pass
            return said.split("\n")[0]

        variables = (f"NOTIFY_SOCKET={tmp_path}/notify", "WATCHDOG_USEC=400000")
        daemon = Daemon(tmp_path, prefix=("env", *variables))
        assert next_state() == "READY=1"
        assert systemd.recv(4096) == b"WATCHDOG=1"
        os.kill(daemon.pid, signal.SIGHUP)
        assert next_state() == "RELOADING=1"
        assert next_state() == "READY=1"
        # Nobody else speaks for it.
        wait_until(lambda: len(children_of(daemon.pid)) >= 2, "front and compile worker run")
        for pid in children_of(daemon.pid):
            assert b"NOTIFY_SOCKET" not in Path(f"/proc/{pid}/environ").read_bytes()
        assert daemon.stop() == 0
        assert next_state() == "STOPPING=1"
