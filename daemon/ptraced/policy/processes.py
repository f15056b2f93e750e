"""Which processes and threads a caller may name who is allowed its own tasks only.

The rule is that of ptrace(2), "Ptrace access mode checking": all user and group ids of the task are
the caller's, and it is dumpable. What each event is seen of is decided once more in the kernel.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from ptraced.errors import PermissionRefused
from ptraced.identity import Caller
from ptraced.pins import Pin
from ptraced.policy.proc_view import shows_others

# PF_KTHREAD in the flags of proc_pid_stat(5): include/linux/sched.h.
_KERNEL_THREAD = 0x00200000


def check_own(pins: Iterable[Pin], caller: Caller) -> None:
    """Refuse tasks that are not the caller's, and the whole truth where /proc hides them.

    Raises PermissionRefused, or NotFound, which is also what hidden ones are.
    """
    for pin in pins:
        try:
            own = is_own(pin.number, caller)
        except (OSError, KeyError, ValueError):
            raise pin.missing() from None
        # What was looked at may have been another that had got the number.
        if pin.gone or (not own and not shows_others(caller)):
            raise pin.missing()
        if not own:
            raise PermissionRefused(
                f"error: {pin.kind} {pin.number} is not yours: the policy allows you your own"
            )


def is_own(task: int, caller: Caller) -> bool:
    """Whether a task that runs is the caller's; raises OSError where it does not run."""
    place = Path(f"/proc/{task}")
    status = dict(
        line.partition(b":")[::2] for line in (place / "status").read_bytes().splitlines()
    )
    users = {int(number) for number in status[b"Uid"].split()}
    groups = {int(number) for number in status[b"Gid"].split()}
    # task_dump_owner() in fs/proc/base.c: root's where the task is not dumpable.
    owner = os.stat(place / "status").st_uid
    flags = int((place / "stat").read_bytes().rpartition(b")")[2].split()[6])
    if flags & _KERNEL_THREAD:
        return False
    return (users, groups, owner) == ({caller.uid}, {caller.gid}, caller.uid)
