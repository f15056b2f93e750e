"""CPU lists, processes and control groups of a request, checked against this host."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from ptrace_proto import ptrace_pb2 as pb
from ptraced import scope
from ptraced.errors import NotFound, TraceError


@pytest.mark.parametrize(
    ("text", "cpus"),
    [("0", (0,)), ("0-2", (0, 1, 2)), ("3,1-2,2", (1, 2, 3)), (" 0 , 5", (0, 5))],
)
def test_cpu_lists(text: str, cpus: tuple[int, ...]) -> None:
    assert scope.parse_cpu_list(text) == cpus


@pytest.mark.parametrize("text", ["", "a", "1-", "2-1", "-1", "0,,1", "9999999"])
def test_malformed_cpu_lists(text: str) -> None:
    with pytest.raises(TraceError, match="is no CPU or range like 0-3"):
        scope.parse_cpu_list(text)


def test_a_cpu_that_is_not_online_is_named() -> None:
    online = ",".join(map(str, scope.online_cpus()))

    with pytest.raises(TraceError) as error:
        scope.resolve_cpus("0,4095")

    assert str(error.value) == f"error: CPU 4095 is not online (online: {online})"


def test_of_many_cpus_that_are_not_online_some_are_named() -> None:
    online = ",".join(map(str, scope.online_cpus()))

    with pytest.raises(TraceError) as error:
        scope.resolve_cpus("0,4000-999999")

    assert str(error.value) == (
        "error: CPU 4000,4001,4002,4003,4004,4005,4006,4007 and 995992 more is not online "
        f"(online: {online})"
    )


def test_a_list_without_end_is_read_soon_and_not_repeated() -> None:
    # GIVEN a list that names a million CPUs a thousand times
    text = ",".join(f"{first}-999999" for first in range(1000))

    assert len(scope.parse_cpu_list(text)) == 1_000_000
    with pytest.raises(TraceError) as error:
        scope.parse_cpu_list(f"{text},\x1b")
    assert str(error.value) == (
        f"error: '\\x1b' in CPU list '{text[:64]}...' is no CPU or range like 0-3"
    )


def test_a_process_that_does_not_exist_is_named() -> None:
    with pytest.raises(NotFound) as error:
        scope.resolve_scope(pb.Scope(pids=[os.getpid(), 2**22 + 1]))

    assert str(error.value) == "error: no process 4194305: it may have exited, or never was"


def test_a_zombie_is_not_alive() -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)

    assert not scope.is_alive(child.pid)
    child.wait()
    assert not scope.is_alive(child.pid)
    assert scope.is_alive(os.getpid())


def test_a_name_of_any_bytes_does_not_hide_that_a_process_lives() -> None:
    script = "import ctypes; ctypes.CDLL(None).prctl(15, b'\\xff) Z', 0, 0, 0); print(); input()"
    child = subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert child.stdout is not None
    child.stdout.readline()

    assert scope.is_alive(child.pid)
    child.communicate(b"\n")


def test_a_process_lives_on_without_its_first_thread() -> None:
    script = (
        "import ctypes, threading\n"
        "def last(): print(flush=True); input(); import os; os._exit(0)\n"
        "threading.Thread(target=last).start()\n"
        "ctypes.CDLL(None).syscall(60, 0)\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert child.stdout is not None
    child.stdout.readline()
    while Path(f"/proc/{child.pid}/stat").read_text().split()[2] != "Z":
        os.sched_yield()

    assert scope.is_alive(child.pid)
    child.communicate(b"\n")


def test_scopes_with_processes_are_never_shared() -> None:
    request = pb.Scope(pids=[os.getpid()])

    assert scope.resolve_scope(request) != scope.resolve_scope(request)
    assert scope.resolve_scope(pb.Scope(cpus="0")) == scope.resolve_scope(pb.Scope(cpus="0"))


def test_an_expression_that_never_ends_is_given_up(groups: Path) -> None:
    (groups / ("a" * 40)).mkdir()

    with pytest.raises(TraceError) as error:
        scope.resolve_cgroups((r"(a+)+!",))

    assert str(error.value) == "error: cgroup '(a+)+!' takes too long to match"


@pytest.fixture
def groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("web/front", "web/back", "batch"):
        (tmp_path / name).mkdir(parents=True)
    monkeypatch.setattr(scope, "cgroup_root", lambda: tmp_path)
    return tmp_path


def test_an_expression_is_read_by_another_process(
    groups: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Of classes like these a few thousand characters take Python a quarter of a minute to read.
    pattern = "(?i)" + "[\x01-\U0001ffff]" * 700
    monkeypatch.setattr(re, "compile", None)
    monkeypatch.setattr("ptraced.cgroup_match._PATIENCE", 0.5)

    with pytest.raises(TraceError) as error:
        scope.resolve_cgroups((pattern,))

    assert str(error.value).endswith("takes too long to match")


def test_a_cgroup_by_name_and_by_expression(groups: Path) -> None:
    assert scope.resolve_cgroups(("batch",)) == (f"{groups}/batch",)
    assert scope.resolve_cgroups(("^web/.*k$",)) == (f"{groups}/web/back",)
    # A match covers what lies below it.
    assert scope.resolve_cgroups(("^(web|batch)",)) == (f"{groups}/batch", f"{groups}/web")


@pytest.mark.parametrize("pattern", ["nosuch", "../etc"])
def test_a_cgroup_that_is_not_there(groups: Path, pattern: str) -> None:
    with pytest.raises(NotFound) as error:
        scope.resolve_cgroups((pattern,))

    assert str(error.value) == f"error: no cgroup below {groups} matches '{pattern}'"


def test_a_malformed_expression(groups: Path) -> None:
    with pytest.raises(TraceError, match=r"^error: cgroup '\(' is neither a name nor a regular"):
        scope.resolve_cgroups(("(",))
