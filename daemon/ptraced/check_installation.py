"""Checks of this installation: programs, headers, privileges, limits."""

from __future__ import annotations

import importlib.metadata
import mmap
import os
import resource
import subprocess
import sys
from pathlib import Path

from ptraced import privileges
from ptraced.check import Check, Probe
from ptraced.config import Config
from ptraced.config_values import format_size
from ptraced.errors import TraceError
from ptraced.headers import locate_headers
from ptraced.privileges import Capability
from ptraced.scope import online_cpus

_PACKAGES = (
    "grpcio",
    "grpcio-health-checking",
    "grpcio-reflection",
    "protobuf",
    "numpy",
    "lark",
    "click",
    "rich",
)


def _bcc(_: Config) -> Check:
    # In a process of its own: LLVM takes 100 MB, and a broken library ends who loads it.
    code = "import bcc, importlib.metadata as m; print(m.version('bcc'))"
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True)
    if done.returncode == 0:
        return Check("BCC", "ok", done.stdout.strip())
    detail = (done.stderr.strip().splitlines() or [f"it ended with {done.returncode}"])[-1]
    remedy = "apt-get install python3-bpfcc; a virtual environment needs --system-site-packages"
    return Check("BCC", "missing", detail, remedy)


def _sandbox(_: Config) -> Check:
    # As the compiler does it.
    code = (
        "from ptraced import sandbox; sandbox.give_up_privileges(); "
        "sandbox.confine_thread(bpf_is_answered=True)"
    )
    trial = [sys.executable, "-P", "-c", code]
    done = subprocess.run(trial, capture_output=True, text=True)
    if done.returncode == 0:
        return Check("compiler sandbox", "ok", "a filter of system calls")
    detail = (done.stderr.strip().splitlines() or [f"it ended with {done.returncode}"])[-1]
    remedy = (
        "needs a kernel with CONFIG_SECCOMP_FILTER, and no container whose runtime answers system "
        "calls itself"
    )
    return Check("compiler sandbox", "missing", detail, remedy)


def _headers(_: Config) -> Check:
    try:
        found = locate_headers()
    except TraceError as error:
        return Check("kernel headers", "missing", str(error).removeprefix("error: "))
    detail = f"{found.release} ({found.source}) in {found.places[0]}"
    if found.exact:
        return Check("kernel headers", "ok", detail)
    return Check("kernel headers", "ok", f"{detail}; not this kernel's, which tracing can do with")


def _capabilities(_: Config) -> Check:
    lacking = [name.name for name in privileges.NEEDED if not privileges.has(name)]
    if not lacking:
        held = [capability.name for capability in Capability if privileges.has(capability)]
        return Check("capabilities", "ok", ", ".join(held))
    remedy = "run as root, or as systemd/ptraced.service does"
    return Check("capabilities", "missing", f"without {', '.join(lacking)}", remedy)


def ring_memory(mlock_kb: int, cpus: int, memlock: int) -> int:
    """Bytes of rings that one user may have without CAP_IPC_LOCK (perf_mmap in the kernel)."""
    return mlock_kb * 1024 * cpus + memlock


def _memory(config: Config) -> Check:
    limit, _ = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    pages = config.limits.buffer_pages
    cpus = len(online_cpus())
    one = (pages + 1) * mmap.PAGESIZE * cpus
    size = f"an event's rings take {format_size(pages * mmap.PAGESIZE)} on each of {cpus} CPUs"
    unlimited = limit == resource.RLIM_INFINITY or privileges.has(Capability.CAP_IPC_LOCK)
    if unlimited:
        return Check("locked memory", "ok", f"unlimited; {size}")
    mlock_kb = int(Path("/proc/sys/kernel/perf_event_mlock_kb").read_text())
    events = ring_memory(mlock_kb, cpus, limit) // one
    remedy = "raise it: LimitMEMLOCK=infinity in the unit, or sysctl kernel.perf_event_mlock_kb"
    state = Check("locked memory", "limited", f"enough for {events} events; {size}", remedy)
    if events:
        return state
    return Check("locked memory", "missing", f"not enough for one event; {size}", remedy)


def _state_directory(config: Config) -> Check:
    try:
        path = config.state_dir()
    except TraceError as error:
        return Check("state directory", "missing", str(error).removeprefix("error: "))
    place = next(place for place in (path, *path.parents) if os.path.exists(place))
    if os.access(place, os.W_OK | os.X_OK):
        return Check("state directory", "ok", str(path))
    remedy = "name one of the daemon's own by server.state_dir"
    return Check("state directory", "missing", f"{path} cannot be written", remedy)


def _packages(_: Config) -> Check:
    versions, lacking = [], []
    for name in _PACKAGES:
        try:
            versions.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            lacking.append(name)
    if lacking:
        remedy = "pip install 'ptraced[daemon]'"
        return Check("Python packages", "missing", f"without {', '.join(lacking)}", remedy)
    return Check("Python packages", "ok", ", ".join(versions))


PROBES: tuple[Probe, ...] = (
    _bcc,
    _sandbox,
    _headers,
    _capabilities,
    _memory,
    _state_directory,
    _packages,
)
