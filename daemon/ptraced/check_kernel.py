"""Checks of the kernel: each function tries one feature."""

from __future__ import annotations

import os
import platform
from itertools import islice
from pathlib import Path

from ptraced import bpf_maps, perf_event, privileges, syscalls, uprobe_multi
from ptraced.bpf_trampoline import try_trampoline
from ptraced.check import Check, Probe
from ptraced.config import Config
from ptraced.errors import TraceError, Unavailable
from ptraced.origin import Sampled
from ptraced.privileges import Capability
from ptraced.sampling.attr import try_open
from ptraced.sampling.counters import BREAKPOINT
from ptraced.scope import cgroup_root, online_cpus
from ptraced.symbols.kernel import PrintedSymbols
from ptraced.tracefs import Tracefs, mounted_at

# BPF code of `return 0`: r0 = 0 (BPF_ALU64|BPF_MOV|BPF_K), exit (BPF_JMP|BPF_EXIT).
_RETURN_ZERO = bytes.fromhex("b7000000000000009500000000000000")
# struct perf_event_attr: type PERF_TYPE_HARDWARE, its size, config PERF_COUNT_HW_CPU_CYCLES.
_CPU_CYCLES = bytes([0, 0, 0, 0, 112]).ljust(112, b"\0")

_DEVICES = Path("/sys/bus/event_source/devices")
_KALLSYMS = Path("/proc/kallsyms")
_PARANOID_FILE = Path("/proc/sys/kernel/perf_event_paranoid")
# The highest level of Linux itself (perf_event_open(2)). Debian and Ubuntu patch more in, and
# there CAP_PERFMON does not open perf events any more.
_PARANOID = 2


def _release(_: Config) -> Check:
    return Check("kernel", "ok", f"{platform.release()} on {platform.machine()}")


def _bpf(_: Config) -> Check:
    try:
        os.close(bpf_maps.load_program(bpf_maps.PROG_TRACEPOINT, "check", _RETURN_ZERO))
    except PermissionError:
        remedy = "run as root, or with CAP_BPF and CAP_PERFMON"
        return Check("BPF programs", "missing", "the kernel refuses to load one", remedy)
    except OSError as error:
        remedy = "needs a kernel with CONFIG_BPF_SYSCALL and CONFIG_BPF_EVENTS"
        return Check("BPF programs", "missing", str(error.strerror), remedy)
    return Check("BPF programs", "ok", "a tracepoint program loads")


def _perf_events(_: Config) -> Check:
    try:
        perf_event.Ring(online_cpus()[0], 1, perf_event.output_attr(0)).close()
    except OSError as error:
        remedy = "run as root, or with CAP_PERFMON"
        if _paranoid_level() > _PARANOID:
            remedy = f"sysctl kernel.perf_event_paranoid={_PARANOID}, or run as root"
        return Check("perf events", "missing", f"no ring opens: {error.strerror}", remedy)
    return Check("perf events", "ok", "a ring for BPF output opens")


def _tracefs(_: Config) -> Check:
    root = mounted_at(Path("/proc/self/mountinfo").read_text())
    if root is None:
        remedy = "mount -t tracefs tracefs /sys/kernel/tracing (the daemon does it where it may)"
        mountable = privileges.has(Capability.CAP_SYS_ADMIN)
        return Check("tracefs", "limited" if mountable else "missing", "no mount", remedy)
    try:
        names = Tracefs(root).names()
        sample = names[0].replace(":", "/", 1) if names else ""
        (root / "events" / sample / "format").read_bytes()
    except OSError as error:
        remedy = "run as root, or with CAP_DAC_READ_SEARCH"
        return Check("tracefs", "missing", f"{error.filename}: {error.strerror}", remedy)
    return Check("tracefs", "ok", f"{len(names)} tracepoints at {root}")


def _btf(_: Config) -> Check:
    path = Path("/sys/kernel/btf/vmlinux")
    if path.exists():
        return Check("BTF", "ok", f"{path.stat().st_size >> 10} KiB")
    remedy = "needs a kernel with CONFIG_DEBUG_INFO_BTF"
    return Check("BTF", "limited", "offsets in kernel structures are unknown", remedy)


def _paranoid(_: Config) -> Check:
    level = _paranoid_level()
    if level <= _PARANOID:
        detail = f"{level}; the daemon's capabilities go before it"
        return Check("perf_event_paranoid", "ok", detail)
    return Check(
        "perf_event_paranoid",
        "limited",
        f"{level}; above {_PARANOID}, kernels that know such levels ask for CAP_SYS_ADMIN",
        f"sysctl kernel.perf_event_paranoid={_PARANOID}, for a daemon that is not root",
    )


def _paranoid_level() -> int:
    return int(_PARANOID_FILE.read_text())


def _pmu(name: str, config_option: str) -> Probe:
    def probe(_: Config) -> Check:
        if (_DEVICES / name / "type").exists():
            return Check(f"{name}s", "ok", "available")
        remedy = f"needs a kernel with {config_option}"
        return Check(f"{name}s", "limited", "this kernel has none", remedy)

    return probe


def _uprobes(config: Config) -> Check:
    found = _pmu("uprobe", "CONFIG_UPROBES")(config)
    if found.state != "ok" or uprobe_multi.is_available():
        return found
    if privileges.has(Capability.CAP_SYS_ADMIN):
        return found
    remedy = "run with CAP_SYS_ADMIN, or on a kernel that has links to files (6.6)"
    return Check(found.name, "limited", "this kernel keeps them from CAP_PERFMON", remedy)


def _function_entry(_: Config) -> Check:
    try:
        try_trampoline()
    except (OSError, Unavailable) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        remedy = (
            "needs a kernel with CONFIG_FUNCTION_TRACER, CONFIG_DEBUG_INFO_BTF and CONFIG_BPF_JIT "
            "that permits it; this version does not use it"
        )
        return Check("BPF trampolines", "limited", f"a fentry program: {reason}", remedy)
    return Check("BPF trampolines", "ok", "function entry and exit (fentry, fexit)")


def _hardware(_: Config) -> Check:
    try:
        os.close(syscalls.perf_event_open(_CPU_CYCLES, -1, online_cpus()[0], 0))
    except PermissionError as error:
        remedy = "run as root, or with CAP_PERFMON"
        return Check("hardware counters", "limited", f"no cpu-cycles: {error.strerror}", remedy)
    except OSError as error:
        remedy = "usual in virtual machines: ask the host for a virtual PMU"
        return Check("hardware counters", "limited", f"no cpu-cycles: {error.strerror}", remedy)
    return Check("hardware counters", "ok", "cpu-cycles")


def _breakpoints(_: Config) -> Check:
    # Of a byte that nothing has: the first page is nobody's.
    byte = Sampled(BREAKPOINT, 0, "", config1=8, config2=1, breakpoint=2, period=1)
    try:
        try_open(byte)
    except OSError as error:
        remedy = "usual in virtual machines without debug registers, or where others use them all"
        return Check("breakpoints", "limited", f"none opens: {error.strerror}", remedy)
    return Check("breakpoints", "ok", "a hardware breakpoint opens")


def _cgroups(_: Config) -> Check:
    try:
        root = cgroup_root()
    except (OSError, TraceError) as error:
        return Check("cgroup v2", "limited", str(error))
    if root is None:
        return Check("cgroup v2", "limited", "no mount", "mount -t cgroup2 none /sys/fs/cgroup")
    return Check("cgroup v2", "ok", f"at {root}")


def _symbols(_: Config) -> Check:
    try:
        with _KALLSYMS.open() as file:
            # The first ones may really be at 0: offsets in per-CPU memory (3e5d8f978435).
            addresses = [int(line.split()[0], 16) for line in islice(file, 1000)]
    except OSError:
        return Check("kernel symbols", "limited", "no /proc/kallsyms")
    if any(addresses):
        return Check("kernel symbols", "ok", "addresses are visible")
    try:
        PrintedSymbols().close()
    except OSError:
        remedy = "run with CAP_SYSLOG, or sysctl kernel.kptr_restrict=0"
        return Check("kernel symbols", "limited", "addresses are hidden", remedy)
    return Check("kernel symbols", "ok", "addresses are hidden, but the kernel prints their names")


PROBES: tuple[Probe, ...] = (
    _release,
    _bpf,
    _perf_events,
    _tracefs,
    _btf,
    _paranoid,
    _pmu("kprobe", "CONFIG_KPROBES"),
    _uprobes,
    _function_entry,
    _hardware,
    _breakpoints,
    _cgroups,
    _symbols,
)
