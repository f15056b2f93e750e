"""What a host may lack at some time: each is told clearly, nothing hangs, and it passes."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from leftovers import holdings, kernel_objects, wait_until, wait_until_none
from processes import Daemon
from streams import GETPPID, events, read_to_end, trace_while

from ptrace_client.errors import ClientError
from ptrace_proto import ptrace_pb2 as pb

REQUEST = pb.TraceRequest(selectors=[GETPPID])
# A mount namespace of its own: what is mounted and unmounted there nobody else sees.
OWN_MOUNTS = ("unshare", "--mount", "--propagation", "private", "--")
TRACEFS = "/sys/kernel/tracing"
LIBFAKETIME = Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1")
HOUR = 3600 * 10**9


def served(daemon: Daemon, request: pb.TraceRequest = REQUEST) -> bool:
    """Whether a session opens, carries an event, and ends in order."""
    with daemon.connect() as host:
        total = trace_while(host, request, os.getppid)
    return total.produced > 0 and total.end.reason == pb.END_REASON_STOPPED


def refusal(daemon: Daemon, request: pb.TraceRequest = REQUEST) -> str:
    """What a session is refused with."""
    with daemon.connect() as host, pytest.raises(ClientError) as refused:
        host.open(request)
    return str(refused.value)


def realtime_offset(daemon: Daemon) -> int:
    """What the daemon takes the difference of the clocks for, ns."""
    with daemon.connect() as host:
        return host.info.realtime_offset


def in_namespace_of(daemon: Daemon, *command: str) -> None:
    subprocess.run(["nsenter", "-t", str(daemon.pid), "--mount", *command], check=True)


@contextmanager
def failing(daemon: Daemon, call: str, error: str) -> Iterator[None]:
    """Let a system call of the daemon fail."""
    options = ("-f", "-e", f"trace={call}", "-e", f"inject={call}:error={error}", "-o", "/dev/null")
    tracer = subprocess.Popen(
        ["strace", *options, "-p", str(daemon.pid)], stderr=subprocess.PIPE, text=True
    )
    assert tracer.stderr is not None
    threads = len(list(Path(f"/proc/{daemon.pid}/task").iterdir()))
    assert "attached" in tracer.stderr.readline(), f"strace follows none of {threads} threads"
    try:
        yield
    finally:
        tracer.terminate()
        tracer.stderr.close()
        tracer.wait()


@contextmanager
def file_limit(daemon: Daemon, soft: int) -> Iterator[None]:
    before = resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE, (soft, before[1]))
    try:
        yield
    finally:
        resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE, before)


def descriptors(daemon: Daemon) -> int:
    return len(list(Path(f"/proc/{daemon.pid}/fd").iterdir()))


def test_a_full_disk_at_the_start(tmp_path: Path) -> None:
    state, socket = tmp_path / "state", tmp_path / "ptraced.sock"
    state.mkdir()
    config = tmp_path / "ptraced.toml"
    config.write_text(f'[server]\nstate_dir = "{state}"\n')
    full = f"mount -t tmpfs -o size=4k,nr_inodes=2,mode=700 tmpfs {state}"
    command = f'{full} && exec "$@"'
    daemon = (sys.executable, "-m", "ptraced.cli", "--config", config, "--socket", socket)
    done = subprocess.run(
        [*OWN_MOUNTS, "sh", "-c", command, "sh", *map(str, daemon)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr.splitlines()[-1] == (
        f"error: cannot lay out kernel headers in {state}: No space left on device; "
        "name a directory of the daemon's own by server.state_dir"
    )
    assert done.returncode == 2
    assert not socket.exists()


def test_a_disk_that_fills_up(own_daemon: Callable[..., Daemon], tmp_path: Path) -> None:
    state = tmp_path / "daemon0" / "state"
    mounted = f'mkdir -p {state} && mount -t tmpfs -o size=4m,mode=700 tmpfs {state} && exec "$@"'
    daemon = own_daemon(prefix=(*OWN_MOUNTS, "sh", "-c", mounted, "sh"))
    in_namespace_of(daemon, "sh", "-c", f"! cat /dev/zero >{state}/filler 2>/dev/null")
    assert served(daemon)


def test_tracefs_goes_away(own_daemon: Callable[..., Daemon]) -> None:
    daemon = own_daemon(prefix=OWN_MOUNTS)
    assert served(daemon)
    in_namespace_of(daemon, "umount", "--lazy", TRACEFS)
    assert refusal(daemon) == (
        f"error: tracefs is not mounted at {TRACEFS} any more; "
        f"as root: mount -t tracefs tracefs {TRACEFS}"
    )
    in_namespace_of(daemon, "mount", "-t", "tracefs", "tracefs", TRACEFS)
    assert served(daemon)


def test_tracefs_goes_away_under_a_session(own_daemon: Callable[..., Daemon]) -> None:
    daemon = own_daemon(prefix=OWN_MOUNTS)

    def work() -> None:
        in_namespace_of(daemon, "umount", "--lazy", TRACEFS)
        os.getppid()

    with daemon.connect() as host:
        total = trace_while(host, REQUEST, work)
    assert total.produced > 0
    assert total.end.reason == pb.END_REASON_STOPPED


def test_headers_go_away(own_daemon: Callable[..., Daemon]) -> None:
    daemon = own_daemon(prefix=OWN_MOUNTS)
    assert served(daemon)
    for place in ("/usr/src", "/lib/modules"):
        in_namespace_of(daemon, "mount", "-t", "tmpfs", "tmpfs", place)
    # Of what is compiled already, or about to be, or by a worker that has to be started.
    assert served(daemon)
    events = [f"syscalls:sys_enter_{call}" for call in ("getpgid", "getsid")]
    refused = [refusal(daemon, pb.TraceRequest(selectors=[event])) for event in events]
    assert all(said.startswith("error: no kernel headers: ") for said in refused)
    for place in ("/usr/src", "/lib/modules"):
        in_namespace_of(daemon, "umount", place)
    assert served(daemon)


def test_no_memory_for_maps(own_daemon: Callable[..., Daemon]) -> None:
    daemon = own_daemon()
    assert served(daemon)
    wait_until_none(lambda: kernel_objects(daemon), "left of the first session")
    with failing(daemon, "bpf", "ENOMEM"):
        assert refusal(daemon) == (
            "error: the kernel refused to trace: Cannot allocate memory; smaller buffers do, "
            "or sessions that end, or MemoryMax= of the daemon's unit"
        )
    assert kernel_objects(daemon) == []
    assert served(daemon)


def test_too_many_files(own_daemon: Callable[..., Daemon]) -> None:
    daemon = own_daemon()
    many = pb.TraceRequest(selectors=["sched:*"])
    assert served(daemon, many)
    wait_until_none(lambda: kernel_objects(daemon), "left of the first session")
    before = holdings(daemon)
    for spare in (3, 6, 9, 12, 20):
        with file_limit(daemon, descriptors(daemon) + spare):
            said = refusal(daemon, many)
        assert said == (
            "error: the kernel refused to trace: Too many open files; fewer events do, "
            "or sessions that end, or LimitNOFILE= of the daemon's unit"
        )
        wait_until_none(lambda: kernel_objects(daemon), "left of a refused session")
    before["socket"] += 3
    wait_until_none(lambda: holdings(daemon) - before, f"held on top of {before}")
    assert served(daemon, many)


def test_no_files_for_connections(own_daemon: Callable[..., Daemon]) -> None:
    daemon = own_daemon()
    with (
        daemon.connect() as host,
        host.open(REQUEST) as stream,
        file_limit(daemon, descriptors(daemon)),
    ):
        os.getppid()
        stream.stop()
        total = read_to_end(stream)
    assert total.produced > 0
    assert served(daemon)


def test_the_clock_is_set_back(own_daemon: Callable[..., Daemon], tmp_path: Path) -> None:
    offset = tmp_path / "offset"
    offset.write_text("+0")
    faked = (
        "env",
        f"LD_PRELOAD={LIBFAKETIME}",
        f"FAKETIME_TIMESTAMP_FILE={offset}",
        "FAKETIME_NO_CACHE=1",
        "FAKETIME_DONT_FAKE_MONOTONIC=1",
        "DONT_FAKE_MONOTONIC=1",
    )
    daemon = own_daemon(prefix=faked)
    real = realtime_offset(daemon)
    with daemon.connect() as host, host.open(REQUEST) as stream:
        os.getppid()
        offset.write_text("-3600")
        os.getppid()
        wait_until(lambda: realtime_offset(daemon) < real - HOUR // 2, "the clock is set")
        stream.stop()
        total = read_to_end(stream)
        seen = events(stream, total)
    # Times of events are monotonic: none goes back.
    assert total.end.reason == pb.END_REASON_STOPPED
    assert len(seen) == total.produced >= 2
    assert served(daemon)
