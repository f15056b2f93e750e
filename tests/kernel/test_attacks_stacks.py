"""Programs that lie about their stacks, to be told what is not theirs."""

from __future__ import annotations

import platform
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from callers import own_rule
from commandline import open_folder
from processes import Daemon
from strangers import ANN, connected_as
from streams import trace_while
from users import AS_DAEMON

from ptrace_proto import ptrace_pb2 as pb
from unprivileged import as_user


@pytest.fixture
def folder() -> Iterator[Path]:
    with open_folder() as folder:
        yield folder


def kernel_function(name: str) -> int:
    lines = (line.split() for line in Path("/proc/kallsyms").read_text().splitlines())
    return next(int(words[0], 16) for words in lines if words[2] == name)


@pytest.mark.skipif(platform.machine() not in ("x86_64", "aarch64"), reason="by its registers")
@pytest.mark.parametrize("stacks", [pb.Stacks(user=True), pb.Stacks(kernel=True, user=True)])
def test_a_made_up_stack_does_not_tell_what_lies_at_an_address_of_the_kernel(
    folder: Path, build: Callable[[str], Path], stacks: pb.Stacks
) -> None:
    # Who could ask which function is at an address would know where the kernel is.
    program = shutil.copy(build("forged"), folder / "forged")
    asked = kernel_function("vfs_read") + 9
    # Where the relay of strangers.py binds its socket, too.
    folder.chmod(0o777)
    daemon = Daemon(folder, config=own_rule(ANN), prefix=AS_DAEMON)
    with (
        subprocess.Popen(
            as_user([program, f"{asked:x}"], ANN),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as forging,
        connected_as(ANN, daemon) as ann,
    ):
        assert forging.stdin is not None
        assert forging.stdout is not None
        pid = int(forging.stdout.readline())

        def spin() -> None:
            print("go", file=forging.stdin, flush=True)
            assert forging.stdout is not None
            assert forging.stdout.readline() == "done\n"

        request = pb.TraceRequest(
            selectors=["cpu-clock"], scope=pb.Scope(pids=[pid]), stacks=stacks
        )
        total = trace_while(ann, request, spin)
        forging.stdin.close()
    assert daemon.stop() == 0

    made_up = [
        (frame.kernel, frame.symbol)
        for stack in total.stacks
        for frame in stack.frames
        if frame.address == asked
    ]
    assert set(made_up) == {(False, "")}
    found = {(frame.symbol, frame.offset) for stack in total.stacks for frame in stack.frames}
    assert ("vfs_read", 9) not in found
