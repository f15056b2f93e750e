"""Pointers that a program passes are its own: what they say of the kernel's memory is nothing."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from commandline import open_folder
from processes import Daemon
from streams import read_to_end
from users import start_daemon

from ptrace_proto import ptrace_pb2 as pb

# Opens what stands at an address, and then a file of its own.
PROGRAM = """
import ctypes, sys
sys.stdin.readline()
openat = ctypes.CDLL(None).openat
openat(-100, ctypes.c_void_p(int(sys.argv[1], 16)), 0)
openat(-100, b"/its/own", 0)
"""


@pytest.fixture
def daemon() -> Iterator[Daemon]:
    """As deployed: it is shown no addresses in /proc/kallsyms."""
    with open_folder() as folder:
        running = start_daemon(folder)
        yield running
        assert running.stop() == 0


def kernel_text() -> str:
    """The address of a function, whose code is there to be read, and begins with no NUL."""
    with Path("/proc/kallsyms").open() as symbols:
        for line in symbols:
            address, kind, name, *_ = line.split()
            if kind == "T" and name in ("__x64_sys_openat", "__arm64_sys_openat"):
                assert int(address, 16), "root is shown no addresses of the kernel"
                return address
    raise AssertionError("the kernel has no openat")


def test_an_address_of_the_kernel_that_a_program_passes_is_not_read(daemon: Daemon) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, kernel_text()], stdin=subprocess.PIPE
    ) as program:
        request = pb.TraceRequest(
            selectors=[
                "syscalls:sys_enter_openat//str=filename/",
                "syscalls:sys_enter_openat/filename.ustring ~ '?*'//",
            ],
            scope=pb.Scope(pids=[program.pid]),
            self_describing=True,
        )
        with daemon.connect() as host, host.open(request) as stream:
            program.communicate(b"\n")
            total = read_to_end(stream)

    names = [
        field for sample in total.samples for field in sample.fields if field.name == "filename"
    ]
    # Of all calls, and of those that the filter let through, which shows the pointer.
    assert [name.text for name in names if name.text] == ["(fault)", "/its/own"]
    assert len(names) == 3
