"""Commands that become another user's, as sudo does, and so cannot be ended by who ran them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from unprivileged import NOBODY

pytestmark = pytest.mark.needs_kernel("capabilities")
# Becomes a user, runs a command, and leaves it when that has opened the FIFO.
CLIENT = """
import os, sys
from ptrace_client.traced_command import TracedCommand
_, user, fifo, *words = sys.argv
os.setgroups([])
os.setresgid(int(user), int(user), int(user))
os.setresuid(int(user), int(user), int(user))
with TracedCommand(words) as command:
    command.start(lambda: None)
    open(fifo).close()
print("left", command.status)
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that everybody can enter."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


def test_it_is_left_to_itself(folder: Path) -> None:
    # GIVEN a program that anybody can become root by
    sudo = Path(shutil.copy(shutil.which("setpriv") or "", folder / "sudo"))
    sudo.chmod(0o4755)
    fifo = folder / "fifo"
    os.mkfifo(fifo)
    fifo.chmod(0o644)
    become = [sudo, "--reuid=0", "--regid=0", "--clear-groups"]
    command = [*become, "sh", "-c", f"exec 3>{fifo}; read -r line"]
    # WHEN nobody runs a command by it, and has enough of that
    with subprocess.Popen(
        [sys.executable, "-c", CLIENT, str(NOBODY), fifo, *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as client:
        assert client.stdin is not None
        assert client.stdout is not None
        # THEN nothing waits for it
        assert client.stdout.readline() == "left None\n"
        client.stdin.write("\n")
        assert client.communicate()[1] == ""
