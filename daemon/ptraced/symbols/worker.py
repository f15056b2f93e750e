"""The process that finds symbols: records and stacks in, frames out (messages.py).

It reads files that anybody may have made: it may look at processes and files, and change nothing.
What it may use is bounded. It ends with its standard input, which the daemon holds.
"""

from __future__ import annotations

import os
import resource
import signal
import threading
from operator import attrgetter
from time import thread_time

from ptraced import sandbox
from ptraced.privileges import Capability, keep_capabilities
from ptraced.symbols.frames import unresolved_stack
from ptraced.symbols.kernel import KernelSymbols, kernel_symbols
from ptraced.symbols.messages import ANYBODY, NUMBER, STACK_HEAD, Kind, Splitter, packed
from ptraced.symbols.resolver import Resolver
from ptraced.symbols.shares import Shares
from ptraced.task_records import Lost, TaskRecord, task_records

# Bytes of address space, a multiple of what all caches together take.
_MEMORY_MAX = 2 << 30
_READ_BYTES = 1 << 20
# Files and directories of all users; /proc/PID/maps, by CAP_SYS_PTRACE on older kernels.
_NEEDED = (Capability.CAP_DAC_READ_SEARCH, Capability.CAP_PERFMON, Capability.CAP_SYS_PTRACE)
_COMPLAINTS_MAX = 20


class Worker:
    """Answers messages; `answers` collects what is to be sent."""

    def __init__(self, kernel: KernelSymbols) -> None:
        self.answers: list[bytes] = []
        self._resolver = Resolver(kernel, self._note_python)
        self._records: list[TaskRecord] = []
        self._complaints = 0
        self._shares = Shares()

    def take(self, kind: int, body: memoryview) -> None:
        """Deal with a message of the daemon."""
        if kind == Kind.RECORDS:
            self._records += task_records(body)
        elif kind == Kind.STACK:
            self._apply_records()
            self._resolve(body)

    def finish(self) -> None:
        """All messages that were waiting have been dealt with."""
        self._apply_records()

    def _apply_records(self) -> None:
        # Rings of several CPUs are read one after the other: bring it in order.
        lost = [record for record in self._records if isinstance(record, Lost)]
        timed = [record for record in self._records if not isinstance(record, Lost)]
        self._records = []
        for record in (*lost, *sorted(timed, key=attrgetter("time"))):
            self._resolver.history.apply(record)

    def _resolve(self, body: memoryview) -> None:
        stack_id, tgid, time, kernel_bytes, whose = STACK_HEAD.unpack_from(body)
        addresses = body[STACK_HEAD.size :]
        kernel, user = addresses[:kernel_bytes], addresses[kernel_bytes:]
        kind = Kind.RESOLVED
        began = thread_time()
        try:
            if self._shares.may(tgid):
                parts = kernel.cast("Q"), user.cast("Q")
                owner = None if whose == ANYBODY else whose
                stack = self._resolver.stack(stack_id, tgid, time, *parts, owner)
            else:
                kind = Kind.GIVEN_UP
                stack = unresolved_stack(stack_id, bytes(kernel), bytes(user))
        except Exception as error:
            # A bug of ours or out of memory; the next stack may well do.
            if isinstance(error, MemoryError):
                self._resolver.forget()
            self._complain(f"a stack of process {tgid} cannot be resolved: {error!r}")
            stack = unresolved_stack(stack_id, bytes(kernel), bytes(user))
        self._shares.charge(tgid, thread_time() - began)
        self.answers.append(packed(kind, NUMBER.pack(stack_id), stack))

    def _note_python(self, pid: int, path: str) -> None:
        self.answers.append(packed(Kind.WITHOUT_MAP, NUMBER.pack(pid), os.fsencode(path)))

    def _complain(self, text: str) -> None:
        self._complaints += 1
        if self._complaints <= _COMPLAINTS_MAX:
            self.answers.append(packed(Kind.COMPLAINT, text[:1000].encode(errors="replace")))


def main() -> None:
    # Ctrl-C is for the daemon, whose end is ours.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    symbols = kernel_symbols()
    _confine(symbols)
    # What a library prints must not get among the answers.
    output = os.dup(1)
    os.dup2(2, 1)
    worker = Worker(symbols)
    splitter = Splitter()
    while piece := os.read(0, _READ_BYTES):
        for kind, body in splitter.feed(piece):
            worker.take(kind, body)
            if len(worker.answers) >= 64:
                _send(output, worker.answers)
        worker.finish()
        _send(output, worker.answers)


def _confine(symbols: KernelSymbols) -> None:
    sandbox.limit({resource.RLIMIT_AS: _MEMORY_MAX, resource.RLIMIT_FSIZE: 0})
    outcome: list[bool] = []
    # Capabilities belong to threads: one of its own can try without.
    trial = threading.Thread(target=lambda: outcome.append(_works_without_bpf(symbols)))
    trial.start()
    trial.join()
    sandbox.give_up_privileges(_NEEDED if outcome == [True] else (*_NEEDED, Capability.CAP_BPF))


def _works_without_bpf(symbols: KernelSymbols) -> bool:
    """Whether the names of the kernel's addresses can be had without CAP_BPF, once it is set up.

    True since kernel commit c8644cd0efe7 (5.19).
    """
    keep_capabilities(_NEEDED)
    try:
        symbols.find(0)
    except OSError:
        return False
    return True


def _send(output: int, answers: list[bytes]) -> None:
    data = memoryview(b"".join(answers))
    answers.clear()
    while data:
        data = data[os.write(output, data) :]


if __name__ == "__main__":
    main()
