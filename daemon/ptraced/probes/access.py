"""What a policy allows of user probes: into which files, and in whose processes.

"all": whatever the daemon can read, wherever it runs.

"own": a file that the caller could run, looked up with the caller's rights (elf_open.py). If it
is the caller's, the breakpoints are in whatever processes run it. If it is another's, as the C
library is, they are only in processes of the caller's, which have to be named: nobody else pays
for them. The semaphores of USDT probes go with the breakpoints: the kernel counts up those of
the same processes (update_ref_ctr() in kernel/events/uprobes.c).

"none": nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ptraced.diagnostics import printable
from ptraced.errors import LimitExceeded, NotFound, PermissionRefused, TraceError
from ptraced.identity import Caller
from ptraced.origin import ProbedFile
from ptraced.pins import Pin
from ptraced.policy.grant import Grant, Uprobes
from ptraced.policy.processes import check_own
from ptraced.probes.elf_open import open_probed

# Each has a descriptor, and breakpoints and links of its own.
_PROCESSES_MAX = 64


class Access:
    """What a grant allows with a file at a path, which the first of `pids` sees.

    All errors are TraceErrors of one line.
    """

    def __init__(self, grant: Grant | None, pids: Sequence[int]) -> None:
        self._grant = grant
        self._pids = pids
        # Whether the file was opened with the caller's rights, not the daemon's.
        self._as_caller = False
        self._callers: tuple[Pin, ...] | None = None

    def open(self, path: str) -> ProbedFile:
        """The file, with the widest rights that any rule grants."""
        rights = {rule.uprobes for rule in self._grant.rules} if self._grant else set()
        if self._grant is None or rights <= {Uprobes.NONE}:
            raise PermissionRefused("the policy does not allow you probes of files")
        if Uprobes.ALL in rights:
            return open_probed(path, self._pids)
        self._as_caller = True
        return self._open_own(path, self._grant.caller)

    def processes(self, event: str, file: ProbedFile) -> tuple[Pin, ...]:
        """The processes to which the rule for an event, "system:name", confines it, if any."""
        grant = self._grant
        rule = grant.rule_for(event) if grant else None
        if grant is None or rule is None or rule.uprobes is Uprobes.NONE:
            raise PermissionRefused(f"the policy does not allow you {printable(event)}")
        if rule.uprobes is Uprobes.ALL:
            return ()
        if self._callers is None:
            self._callers = self._confined(file, grant.caller)
        return self._callers

    def _confined(self, file: ProbedFile, caller: Caller) -> tuple[Pin, ...]:
        if not self._as_caller and self._open_own(file.path, caller) != file:
            raise TraceError(f"'{printable(file.path)}' was replaced meanwhile; try again")
        if file.owner == caller.uid:
            return ()
        if not self._pids:
            raise PermissionRefused(
                f"'{printable(file.path)}' is not yours: the policy allows you to probe it in "
                "processes of yours, which -p PID names"
            )
        processes = {_process_of(task) for task in self._pids}
        if len(processes) > _PROCESSES_MAX:
            raise LimitExceeded(
                f"'{printable(file.path)}' is not yours, and can be probed in at most "
                f"{_PROCESSES_MAX} processes at once, not {len(processes)}"
            )
        return tuple(_held(pid, caller) for pid in sorted(processes))

    def _open_own(self, path: str, caller: Caller) -> ProbedFile:
        if not self._pids:
            return open_probed(path, (), caller)
        process = _held(_process_of(self._pids[0]), caller)
        file = open_probed(path, (process.number,), caller)
        if process.gone:
            # Its number, and the root that was looked into, may have been another's.
            raise NotFound(f"process {process.number} has ended")
        return file


def _process_of(task: int) -> int:
    """The process of a thread."""
    try:
        lines = Path(f"/proc/{task}/status").read_bytes().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith(b"Tgid:"))
    except (OSError, StopIteration):
        raise NotFound(f"there is no process {task}") from None


def _held(pid: int, caller: Caller) -> Pin:
    """A process of the caller's; raises PermissionRefused or NotFound."""
    try:
        process = Pin(pid)
        check_own([process], caller)
    except TraceError as error:
        raise type(error)(str(error).removeprefix("error: ")) from None
    return process
