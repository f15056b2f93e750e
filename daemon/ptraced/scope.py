"""Where a session traces: CPUs, processes, threads, control groups."""

from __future__ import annotations

import itertools
import os
import re
from dataclasses import dataclass, field
from pathlib import Path

from ptrace_proto import ptrace_pb2 as pb
from ptraced.cgroup_match import matching
from ptraced.diagnostics import printable
from ptraced.errors import LimitExceeded, NotFound, TraceError, Unavailable
from ptraced.pins import DESCRIPTORS_MAX, Pin

TASKS_MAX = 65536
_CGROUPS_MAX = 64
# Characters of a name or regular expression.
_PATTERN_MAX = 4096
# CPUs, and characters of a list, that an error has of many.
_LISTED = 8
_SHOWN_MAX = 64
_serial = itertools.count()


@dataclass(frozen=True, slots=True)
class Scope:
    """All that is set must hold; processes and threads add up. Empty means everywhere."""

    cpus: tuple[int, ...] = ()
    pids: tuple[int, ...] = ()
    tids: tuple[int, ...] = ()
    cgroups: tuple[str, ...] = ()
    # What the names meant when the scope was made: they may come to mean something else,
    # and a process has other children by then. Scopes with tasks are never equal.
    identity: tuple[int, ...] = ()
    # The uid whose tasks alone count; None: all tasks.
    owner: int | None = None
    # The processes and threads as they were when they were named.
    pins: tuple[Pin, ...] = field(default=(), compare=False, repr=False)

    @property
    def has_tasks(self) -> bool:
        return bool(self.pids or self.tids)


def resolve_scope(request: pb.Scope) -> Scope:
    """Check a requested scope against this host.

    Raises NotFound for a process, thread or control group that is not there,
    TraceError for a malformed or offline CPU list.
    """
    pids, tids = sorted(set(request.pids)), sorted(set(request.tids))
    named = [*((pid, False) for pid in pids), *((tid, True) for tid in tids)]
    pins = tuple(
        Pin(number, thread, descriptor=index < DESCRIPTORS_MAX)
        for index, (number, thread) in enumerate(named)
    )
    cgroups = resolve_cgroups(tuple(request.cgroups))
    identity = [os.stat(directory).st_ino for directory in cgroups]
    if request.pids or request.tids:
        identity.append(next(_serial))
    return Scope(
        cpus=resolve_cpus(request.cpus),
        pids=tuple(pids),
        tids=tuple(tids),
        cgroups=cgroups,
        identity=tuple(identity),
        pins=pins,
    )


def is_alive(task: int) -> bool:
    """True while a process or thread runs.

    A zombie does not, unless it is the first thread of a process that has others. What
    cannot be seen is taken to be alive.
    """
    try:
        stat = Path(f"/proc/{task}/stat").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return False
    except OSError:
        return True
    # proc(5): the name may have any bytes; state and num_threads stand behind it.
    words = stat.rpartition(b")")[2].split()
    return words[0] not in (b"Z", b"X") or int(words[17]) > 1


def online_cpus() -> tuple[int, ...]:
    return parse_cpu_list(Path("/sys/devices/system/cpu/online").read_text().strip())


def possible_cpus() -> int:
    """How many CPU numbers there can be: one more than the highest."""
    return parse_cpu_list(Path("/sys/devices/system/cpu/possible").read_text().strip())[-1] + 1


def parse_cpu_list(text: str) -> tuple[int, ...]:
    """The CPUs of a list as the kernel writes it, "0-3,8"; raises TraceError."""
    ranges = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d{1,6})(?:-(\d{1,6}))?\s*", part)
        if match is None or (match[2] and int(match[2]) < int(match[1])):
            raise TraceError(
                f"error: '{_shown(part)}' in CPU list '{_shown(text)}' is no CPU or range like 0-3"
            )
        ranges.append((int(match[1]), int(match[2] or match[1])))
    cpus: list[int] = []
    for first, last in sorted(ranges):
        # However often ranges overlap, each CPU is counted once.
        cpus.extend(range(max(first, cpus[-1] + 1 if cpus else 0), last + 1))
    return tuple(cpus)


def _shown(text: str) -> str:
    return printable(text[:_SHOWN_MAX]) + ("..." if len(text) > _SHOWN_MAX else "")


def resolve_cpus(text: str) -> tuple[int, ...]:
    """The online CPUs that a list names, empty for an empty list; raises TraceError."""
    if not text:
        return ()
    online = online_cpus()
    cpus = parse_cpu_list(text)
    missing = sorted(set(cpus) - set(online))
    if missing:
        listed = ",".join(map(str, missing[:_LISTED]))
        more = f" and {len(missing) - _LISTED} more" if len(missing) > _LISTED else ""
        raise TraceError(
            f"error: CPU {listed}{more} is not online (online: {','.join(map(str, online))})"
        )
    return cpus


def cgroup_root() -> Path | None:
    """Where the cgroup v2 hierarchy is mounted."""
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        fields, _, rest = line.partition(" - ")
        if rest.split()[0] == "cgroup2":
            return Path(fields.split()[4])
    return None


def resolve_cgroups(patterns: tuple[str, ...]) -> tuple[str, ...]:
    """Directories of the control groups that names or regular expressions match.

    Descendants of a match are traced with it and not listed.
    """
    if not patterns:
        return ()
    root = cgroup_root()
    if root is None:
        raise Unavailable(
            "error: no cgroup v2 hierarchy is mounted; "
            "mount -t cgroup2 none /sys/fs/cgroup makes one"
        )
    if len(patterns) > _CGROUPS_MAX:
        raise LimitExceeded(f"error: {len(patterns)} cgroups, at most {_CGROUPS_MAX} may be named")
    found: set[str] = set()
    for pattern in patterns:
        found.update(_matching(root, pattern))
    if len(found) > _CGROUPS_MAX:
        raise TraceError(
            f"error: {len(found)} cgroups match, at most {_CGROUPS_MAX} can be traced at once"
        )
    return tuple(sorted(found))


def _matching(root: Path, pattern: str) -> list[str]:
    if len(pattern) > _PATTERN_MAX:
        raise TraceError(
            f"error: cgroup '{_shown(pattern)}' has more than {_PATTERN_MAX} characters"
        )
    exact = root / pattern.strip("/")
    if ".." not in exact.parts and os.path.isdir(exact):
        return [str(exact)]
    names = [os.path.relpath(directory, root) for directory, _, _ in os.walk(root)]
    try:
        found = set(matching(pattern, [name for name in names if name != "."]))
    except ValueError as error:
        raise TraceError(
            f"error: cgroup '{_shown(pattern)}' is neither a name nor a regular expression: {error}"
        ) from None
    if not found:
        raise NotFound(f"error: no cgroup below {root} matches '{_shown(pattern)}'")
    # What lies below a match is traced with it.
    outermost = (name for name in found if not found & set(map(str, Path(name).parents)))
    return [str(root / name) for name in outermost]
