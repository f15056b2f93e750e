"""Probes of programs and libraries: functions, their returns, and USDT probes.

uprobe:SYMBOL[+OFFSET]@"FILE", uretprobe:SYMBOL@"FILE", usdt:PROVIDER:NAME@"FILE"

A symbol is a linker's name, a C++ or Rust name with or without arguments, an address as nm(1)
shows it, or a glob over linkers' names (one with "::" also over C++ and Rust names).
"""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from ptrace_formats.event_format import EventFormat
from ptraced.diagnostics import pointed
from ptraced.errors import TraceError, Unavailable
from ptraced.origin import Probe, ProbedFile, Site
from ptraced.pins import Pin
from ptraced.policy.grant import Grant
from ptraced.probes.access import Access
from ptraced.probes.elf_answer import Found, Refused
from ptraced.probes.elf_ask import ask
from ptraced.probes.user_fields import UnknownStrings, probe_fields, record

_DEVICE = Path("/sys/bus/event_source/devices/uprobe/type")
_ENOTSUPP = 524
# What attaching fails with (kernel/events/uprobes.c, kernel/trace/trace_uprobe.c).
_REASONS = {
    errno.EINVAL: "the place is not in the file any more, or its USDT semaphore is not where "
    "other probes of it say",
    errno.EIO: "the file lies on a file system whose files cannot be probed",
    errno.ENOEXEC: "the instruction there cannot be probed",
    errno.EOPNOTSUPP: "the instruction there cannot be probed",
    _ENOTSUPP: "the instruction there cannot be probed",
    errno.ENOENT: "this kernel has no uprobes (CONFIG_UPROBE_EVENTS is off)",
    errno.EACCES: "it wants CAP_PERFMON for this and, where it cannot link programs to files "
    "(before Linux 6.6), maybe CAP_SYS_ADMIN",
    errno.EPERM: "it is locked down (CONFIG_SECURITY_LOCKDOWN_LSM, mode confidentiality), "
    "or the daemon lacks CAP_PERFMON",
    errno.ESRCH: "the process is gone",
    errno.ENOMEM: "it has no memory left for more probes",
    errno.EMFILE: "the daemon has too many files open; LimitNOFILE= of its unit raises the limit",
}


def find_user_probes(
    kind: str,
    target: str,
    path: str,
    text: str,
    strings: Mapping[str, int],
    *,
    most: int,
    pids: Sequence[int],
    grant: Grant | None,
) -> list[tuple[EventFormat, Probe]]:
    """Return the probes of a file that a target means, sorted by name; at most `most`.

    `kind` is "uprobe", "uretprobe" or "usdt"; `target` and `path` are parts of the selector
    `text`. `strings` has arguments that are text in user memory, by name or as "arg1", with
    the most bytes to read of each. The file is the one that the first of `pids` sees. Raises
    TraceError, NotFound, Unavailable, LimitExceeded, or PermissionRefused for what `grant` does
    not allow, which point at what is wrong.
    """
    at = max(text.find(target, len(kind) + 1), 0)
    places = {"target": (at, at + len(target))}
    start = max(text.find(path, places["target"][1]), 0) if path else len(text)
    places["path"] = (start, start + max(len(path), 1))
    if not _DEVICE.exists():
        message = "this kernel has no uprobes (CONFIG_UPROBE_EVENTS is off)"
        raise Unavailable(pointed(message, text, 0, len(kind)))
    access = Access(grant, pids)
    try:
        file = access.open(path)
    except TraceError as error:
        raise type(error)(pointed(str(error), text, *places["path"])) from None
    try:
        found = ask(file, kind, target, most)
    except Refused as refused:
        raise refused.error(pointed(str(refused), text, *places[refused.part])) from None
    try:
        processes = [access.processes(f"{kind}:{probe.name}", file) for probe in found]
    except TraceError as error:
        raise type(error)(pointed(str(error), text, *places["path"])) from None
    try:
        return _events(kind, file, found, processes, strings)
    except UnknownStrings as error:
        at = max(text.rfind(f"str={error.name}"), 0)
        raise TraceError(pointed(str(error), text, at, at + 4 + len(error.name))) from None


def _events(
    kind: str,
    file: ProbedFile,
    found: Sequence[Found],
    processes: Sequence[tuple[Pin, ...]],
    strings: Mapping[str, int],
) -> list[tuple[EventFormat, Probe]]:
    all_fields = probe_fields(found, strings)
    events = []
    for probe, fields, within in zip(found, all_fields, processes, strict=True):
        sites = tuple(
            Site(site.offset, record(site), semaphore=site.semaphore) for site in probe.sites
        )
        event_format = EventFormat(kind, probe.name, 0, (), fields, "")
        events.append((event_format, Probe(kind == "uretprobe", sites, file, within)))
    return events


def explain_user_refusal(format: EventFormat, probe: Probe, error: OSError) -> str:
    """Return the text of an error for a probe of a file that could not be attached."""
    number = error.errno or 0
    reason = _REASONS.get(number, os.strerror(number))
    code = errno.errorcode.get(number, str(number))
    path = probe.file.path if probe.file is not None else ""
    return f"error: the kernel refuses {format.system}:{format.name} of {path}: {reason} ({code})"
