"""The daemon behind the walls of its unit: what systemd would take from it, it does not need."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from commandline import open_folder
from leftovers import children_of
from processes import Daemon, running
from streams import GETPPID, read_to_end
from users import AS_DAEMON, DAEMON_UID

from ptrace_proto import ptrace_pb2 as pb
from unprivileged import PROJECT

UNIT = PROJECT / "systemd/ptraced.service"
# ProtectSystem=strict, ProtectKernelTunables=, PrivateNetwork=: $0 stays writable.
READ_ONLY = (
    'mount --bind "$0" "$0"; findmnt -rno TARGET | while read -r place; do '
    'case "$place" in "$0"*|/proc*|/dev*) ;; *) mount -o remount,bind,ro "$place" ;; esac; done; '
    'exec "$@"'
)


def settings(name: str) -> list[str]:
    return re.findall(rf"^{name}=(.*)$", UNIT.read_text(), re.MULTILINE)


def call_sets() -> dict[str, set[str]]:
    """Names of system calls, and of sets, by set."""
    said = subprocess.run(
        ["systemd-analyze", "syscall-filter", "--no-pager"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    sets: dict[str, set[str]] = {}
    for line in said.splitlines():
        word = line.strip()
        if line.startswith("@"):
            sets[word] = current = set()
        elif word and not word.startswith("#") and sets:
            current.add(word)
    return sets


def expanded(words: list[str], sets: dict[str, set[str]]) -> set[str]:
    found: set[str] = set()
    for word in words:
        found |= expanded(sorted(sets[word]), sets) if word in sets else {word}
    return found


def numbers() -> dict[str, int]:
    defined = subprocess.run(
        ["gcc", "-E", "-dM", "-include", "sys/syscall.h", "-x", "c", "/dev/null"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return {name: int(n) for name, n in re.findall(r"^#define __NR_(\w+) (\d+)$", defined, re.M)}


def walls() -> dict[str, object]:
    """The filter of the unit, in its order: SystemCallFilter= of systemd.exec(5)."""
    sets = call_sets()
    allowed: set[str] = set()
    for line in settings("SystemCallFilter"):
        names = expanded(line.removeprefix("~").split(), sets)
        allowed = allowed - names if line.startswith("~") else allowed | names
    known = numbers()
    return {
        "allowed": sorted(known[name] for name in allowed if name in known and name != "socket"),
        "socket": known["socket"],
    }


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with open_folder() as folder:
        own = folder / "daemon"
        own.mkdir()
        os.chown(own, DAEMON_UID, DAEMON_UID)
        helper = Path(__file__).with_name("unit_walls.py")
        prefix = (
            *("unshare", "--mount", "--net", "sh", "-euc", READ_ONLY, str(own)),
            *AS_DAEMON,
            *(sys.executable, str(helper), json.dumps(walls())),
        )
        serving = Daemon(own, prefix=prefix)
        yield serving
        assert serving.stop() == 0


def test_the_unit_grants_the_capabilities_of_these_tests() -> None:
    wanted = "CAP_BPF CAP_PERFMON CAP_DAC_READ_SEARCH"
    assert settings("AmbientCapabilities") == settings("CapabilityBoundingSet") == [wanted]
    assert settings("RestrictAddressFamilies") == ["AF_UNIX"]


def test_events_stacks_and_samples_are_served_behind_the_walls(
    daemon: Daemon, calls_binary: Path
) -> None:
    with running(calls_binary, 100) as program:
        request = pb.TraceRequest(
            selectors=[GETPPID, "profile/-F 99/"],
            scope=pb.Scope(pids=[program.pid]),
            stacks=pb.Stacks(user=True, kernel=True),
        )
        with daemon.connect() as host, host.open(request) as stream:
            program.make()
            stream.stop()
            total = read_to_end(stream)
            schema = stream.started.schemas[0].id
    assert (total.delivered[schema], total.lost[schema]) == (100, 0)
    frames = [frame for stack in total.stacks for frame in stack.frames]
    # The C library's function, and one of the kernel's.
    assert "syscall" in {frame.symbol for frame in frames}
    assert "[kernel.kallsyms]" in {frame.dso for frame in frames if frame.symbol}


def test_probes_are_served_behind_the_walls(daemon: Daemon, calls_binary: Path) -> None:
    request = pb.TraceRequest(selectors=[f'uprobe:main@"{calls_binary}"'])
    with daemon.connect() as host, host.open(request) as stream:
        stream.stop()
        total = read_to_end(stream)
    assert total.end.reason == pb.END_REASON_STOPPED


def test_nothing_of_the_host_can_be_written_or_reached(daemon: Daemon) -> None:
    """GIVEN that a helper of the daemon is in the same namespaces, WHEN it is looked at."""
    for pid in (daemon.pid, *children_of(daemon.pid)):
        status = Path(f"/proc/{pid}/status").read_text()
        assert "\nSeccomp:\t2\n" in status
        mounts = Path(f"/proc/{pid}/mounts").read_text().splitlines()
        (root,) = [line.split()[3] for line in mounts if line.split()[1] == "/"]
        assert root.split(",")[0] == "ro"
        assert os.stat(f"/proc/{pid}/ns/net").st_ino != os.stat("/proc/self/ns/net").st_ino
