"""Processes with a number that was another's before. `reborn.py NUMBER COMMAND...` starts one.

The test's own process has threads, which may hold what a child needs before it runs another
program: the child is this program's, and the test's as soon as it is there (CLONE_PARENT).
"""

from __future__ import annotations

import ctypes
import os
import signal
import struct
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

# The same number on all machines.
_CLONE3 = 435
_CLONE_PARENT = 0x8000


def born_as(number: int, argv: Sequence[str | os.PathLike[str]], **streams: Any) -> None:
    """Start a child that runs `argv`, with a number that is free (clone3(2), set_tid). Needs root.

    `streams` are stdin= and stdout= as of subprocess.run, which raises CalledProcessError where
    the number is taken.
    """
    command = [sys.executable, "-S", "-E", __file__, str(number), *argv]
    subprocess.run(command, check=True, **streams)


def ended(number: int) -> None:
    """Kill a child, and let its number go."""
    os.kill(number, signal.SIGKILL)
    os.waitpid(number, 0)


def _main(number: int, command: list[str]) -> int:
    wanted = ctypes.c_int(number)
    # struct clone_args: flags, set_tid, set_tid_size; what is not said is 0.
    words = [_CLONE_PARENT, 0, 0, 0, 0, 0, 0, 0, ctypes.addressof(wanted), 1, 0]
    arguments = ctypes.create_string_buffer(struct.pack("11Q", *words), 88)
    pid = ctypes.PyDLL(None).syscall(_CLONE3, arguments, ctypes.c_size_t(88))
    if pid == 0:
        os.execvp(command[0], command)
    return 0 if pid == number else 1


if __name__ == "__main__":
    sys.exit(_main(int(sys.argv[1]), sys.argv[2:]))
