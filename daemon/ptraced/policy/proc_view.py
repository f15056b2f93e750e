"""What /proc shows to a caller: everybody's tasks, or its own only.

See proc(5), "Mount options", and has_pid_permissions() in fs/proc/base.c.
"""

from __future__ import annotations

import grp
from pathlib import Path

from ptraced.identity import Caller

_PROC = Path("/proc")
_OPEN = ("0", "off")
# Unlike the others it knows no group that is shown all.
_PTRACEABLE = ("4", "ptraceable")


def shows_others(caller: Caller, proc: Path = _PROC) -> bool:
    """Whether /proc tells a caller of tasks of others. Where that cannot be found out: no."""
    # The kernel tells no pid of a process outside of the daemon's own namespace.
    if not caller.is_remote and not (caller.pid and _shares_pids(caller.pid, proc)):
        return False
    if caller.uid == 0:
        return True
    views = [_options(proc / "self"), _options(proc / "1")]
    known = [options for options in views if options is not None]
    return bool(known) and all(_is_open(options, caller) for options in known)


def _options(process: Path) -> dict[str, str] | None:
    """The options of /proc's mount in a process's namespace; None where that may not be read.

    The daemon's own /proc may be another than that of the host's users.
    """
    try:
        lines = (process / "mountinfo").read_text().splitlines()
    except OSError:
        return None
    found: dict[str, str] | None = None
    for line in lines:
        own, _, rest = line.partition(" - ")
        kind, _, options = rest.split(" ", 2)
        if own.split(" ")[4] == "/proc" and kind == "proc":
            # The last one lies on top.
            pairs = (option.partition("=") for option in options.split(","))
            found = {name: value for name, _, value in pairs}
    return found if found is not None else {"hidepid": "unknown"}


def _is_open(options: dict[str, str], caller: Caller) -> bool:
    hidepid = options.get("hidepid", "0")
    if hidepid in _OPEN:
        return True
    return hidepid not in _PTRACEABLE and "gid" in options and _is_in(int(options["gid"]), caller)


def _is_in(gid: int, caller: Caller) -> bool:
    if caller.gid == gid:
        return True
    try:
        return grp.getgrgid(gid).gr_name in caller.groups
    except KeyError:
        return False


def _shares_pids(pid: int, proc: Path) -> bool:
    """Whether a process is in the daemon's own pid namespace, and not in one below it."""
    try:
        status = (proc / str(pid) / "status").read_text()
    except OSError:
        return False
    numbers = [line.split()[1:] for line in status.splitlines() if line.startswith("NSpid:")]
    return bool(numbers) and len(numbers[0]) == 1
