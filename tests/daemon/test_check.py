"""`ptraced --check` tells what works by trying it, and what to do about what does not."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ptraced import check, check_installation, check_kernel, privileges
from ptraced.check import Check, checks, print_table
from ptraced.config import Config, Server
from ptraced.errors import Unavailable
from unprivileged import as_user

CHECK = "from ptraced.check import run; from ptraced.config import Config; exit(run(Config()))"


def found(name: str, config: Config | None = None) -> Check:
    by_name = {probe.name: probe for probe in checks(config or Config())}
    return by_name[name]


def fail_with(error: OSError) -> Callable[..., None]:
    def refuse(*_: object) -> None:
        raise error

    return refuse


def test_root_on_this_machine_can_trace() -> None:
    states = {probe.name: probe.state for probe in checks(Config())}
    essential = (
        *("BPF programs", "perf events", "tracefs", "BCC", "compiler sandbox"),
        *("kernel headers", "capabilities"),
    )
    assert {name: states[name] for name in essential} == dict.fromkeys(essential, "ok")


def test_everything_that_is_not_ok_and_can_be_had_says_how() -> None:
    assert [
        probe.name for probe in checks(Config()) if probe.state != "ok" and not probe.remedy
    ] == []


def test_an_unprivileged_user_is_told_what_is_missing() -> None:
    done = subprocess.run(
        as_user([sys.executable, "-c", CHECK]),
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
        env={**os.environ, "COLUMNS": "200"},
    )
    assert done.stderr == ""
    assert done.returncode == 1
    start, _, missing = done.stdout.splitlines()[-1].partition(": ")
    assert start == "tracing is not possible yet"
    # And locked memory, where its limit is low.
    essential = {"BPF programs", "perf events", "tracefs", "capabilities", "state directory"}
    assert essential <= set(missing.split(", ")) <= essential | {"locked memory"}
    assert "without CAP_BPF, CAP_PERFMON, CAP_DAC_READ_SEARCH" in done.stdout
    assert "run as root, or with CAP_BPF and CAP_PERFMON" in done.stdout


def test_a_refused_program_is_told_by_its_cause(monkeypatch: pytest.MonkeyPatch) -> None:
    load = "ptraced.bpf_maps.load_program"
    monkeypatch.setattr(load, fail_with(PermissionError(1, "Operation not permitted")))
    assert check_kernel._bpf(Config()) == Check(
        "BPF programs",
        "missing",
        "the kernel refuses to load one",
        "run as root, or with CAP_BPF and CAP_PERFMON",
    )
    monkeypatch.setattr(load, fail_with(OSError(38, "Function not implemented")))
    assert check_kernel._bpf(Config()) == Check(
        "BPF programs",
        "missing",
        "Function not implemented",
        "needs a kernel with CONFIG_BPF_SYSCALL and CONFIG_BPF_EVENTS",
    )


def test_an_event_type_is_there_where_the_kernel_lists_its_device(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(check_kernel, "_DEVICES", tmp_path)
    probe = check_kernel._pmu("kprobe", "CONFIG_KPROBES")
    assert probe(Config()) == Check(
        "kprobes", "limited", "this kernel has none", "needs a kernel with CONFIG_KPROBES"
    )
    (tmp_path / "kprobe").mkdir()
    (tmp_path / "kprobe/type").write_text("8\n")
    assert probe(Config()) == Check("kprobes", "ok", "available")


def test_levels_that_ask_for_root_say_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    level = tmp_path / "perf_event_paranoid"
    level.write_text("2\n")
    monkeypatch.setattr(check_kernel, "_PARANOID_FILE", level)
    monkeypatch.setattr("ptraced.perf_event.Ring", fail_with(PermissionError(13, "Denied")))
    assert check_kernel._paranoid(Config()) == Check(
        "perf_event_paranoid", "ok", "2; the daemon's capabilities go before it"
    )
    assert check_kernel._perf_events(Config()).remedy == "run as root, or with CAP_PERFMON"
    level.write_text("3\n")
    assert check_kernel._paranoid(Config()) == Check(
        "perf_event_paranoid",
        "limited",
        "3; above 2, kernels that know such levels ask for CAP_SYS_ADMIN",
        "sysctl kernel.perf_event_paranoid=2, for a daemon that is not root",
    )
    assert check_kernel._perf_events(Config()) == Check(
        "perf events",
        "missing",
        "no ring opens: Denied",
        "sysctl kernel.perf_event_paranoid=2, or run as root",
    )


@pytest.mark.parametrize(("second", "state"), [("ffffffff81000000", "ok"), ("0" * 16, "limited")])
def test_hidden_addresses_are_all_0(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, second: str, state: str
) -> None:
    symbols = tmp_path / "kallsyms"
    symbols.write_text(f"{0:016x} A fixed_percpu_data\n{second} T _stext\n")
    monkeypatch.setattr(check_kernel, "_KALLSYMS", symbols)
    monkeypatch.setattr(check_kernel, "PrintedSymbols", fail_with(PermissionError(1, "Denied")))
    assert check_kernel._symbols(Config()).state == state


@pytest.mark.needs_kernel("BPF programs")
def test_a_kernel_that_hides_addresses_prints_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    symbols = tmp_path / "kallsyms"
    symbols.write_text(f"{0:016x} T _stext\n")
    monkeypatch.setattr(check_kernel, "_KALLSYMS", symbols)
    assert check_kernel._symbols(Config()) == Check(
        "kernel symbols", "ok", "addresses are hidden, but the kernel prints their names"
    )


@pytest.mark.parametrize(
    ("mountable", "state"), [(True, "limited"), (False, "missing")], ids=["root", "user"]
)
def test_tracefs_that_is_not_mounted(
    monkeypatch: pytest.MonkeyPatch, mountable: bool, state: str
) -> None:
    monkeypatch.setattr(check_kernel, "mounted_at", lambda _: None)
    monkeypatch.setattr(privileges, "has", lambda _: mountable)
    assert check_kernel._tracefs(Config()) == Check(
        "tracefs",
        state,
        "no mount",
        "mount -t tracefs tracefs /sys/kernel/tracing (the daemon does it where it may)",
    )


def test_missing_headers_pass_on_their_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere() -> None:
        raise Unavailable("error: no kernel headers: install some")

    monkeypatch.setattr(check_installation, "locate_headers", nowhere)
    assert check_installation._headers(Config()) == Check(
        "kernel headers", "missing", "no kernel headers: install some"
    )


def test_locked_memory_is_counted_as_the_kernel_does() -> None:
    # 516 KiB for each of 4 CPUs, and RLIMIT_MEMLOCK on top.
    assert check_installation.ring_memory(516, 4, 8 << 20) == 4 * 516 * 1024 + (8 << 20)


@pytest.mark.parametrize(("limit", "state"), [(64 << 30, "limited"), (0, "missing")])
def test_limited_memory_tells_for_how_many_events_it_is_enough(
    monkeypatch: pytest.MonkeyPatch, limit: int, state: str
) -> None:
    monkeypatch.setattr(privileges, "has", lambda _: False)
    monkeypatch.setattr("resource.getrlimit", lambda _: (limit, limit))
    memory = check_installation._memory(Config())
    assert memory.state == state
    assert memory.detail.startswith("enough for " if limit else "not enough for one event; ")
    assert memory.remedy == (
        "raise it: LimitMEMLOCK=infinity in the unit, or sysctl kernel.perf_event_mlock_kb"
    )


def test_a_state_directory_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    config = Config(server=Server(state_dir=tmp_path / "file/state"))
    assert found("state directory", config) == Check(
        "state directory",
        "missing",
        f"{tmp_path}/file/state cannot be written",
        "name one of the daemon's own by server.state_dir",
    )


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check_installation, "_PACKAGES", ("grpcio", "no-such-package"))
    assert check_installation._packages(Config()) == Check(
        "Python packages", "missing", "without no-such-package", "pip install 'ptraced[daemon]'"
    )


def test_the_table_and_its_last_line() -> None:
    out = io.StringIO()
    print_table(
        [
            Check("BTF", "ok", "5 KiB"),
            Check("BCC", "missing", "no module [bcc]", "apt-get install python3-bpfcc"),
        ],
        out,
    )
    assert [line.rstrip() for line in out.getvalue().splitlines()] == [
        "check  state    detail and remedy",
        "BTF    ok       5 KiB",
        "BCC    missing  no module [bcc]",
        "                apt-get install python3-bpfcc",
        "",
        "tracing is not possible yet: BCC",
    ]


@pytest.mark.parametrize(("state", "status"), [("ok", 0), ("limited", 0), ("missing", 1)])
def test_only_what_is_missing_is_a_failure(
    monkeypatch: pytest.MonkeyPatch, state: check.State, status: int
) -> None:
    monkeypatch.setattr(check, "checks", lambda _: [Check("x", state, "y")])
    assert check.run(Config(), io.StringIO()) == status
