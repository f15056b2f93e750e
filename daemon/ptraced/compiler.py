"""C text to BPF objects, by a worker process, each text once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Callable

from ptraced.bpf_object import BpfObject
from ptraced.errors import Unavailable
from ptraced.headers import Headers
from ptraced.policy.grant import Quota
from ptraced.quotas.compile_time import CompileTime
from ptraced.quotas.fair_lock import FairLock

_KEPT_OBJECTS = 256
_NO_LIMIT = Quota()
# LLVM gives back little of what it takes; a fresh worker does.
_COMPILATIONS_PER_WORKER = 200
# Seconds of a CPU for a compilation: the most that is compiled at once takes a few. By the clock
# so many times as much.
_PATIENCE = 60.0
_WAITS = 10
_ANSWER_CHARACTERS_MAX = 64 << 20
_ENVIRONMENT = ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH")


class CompileError(Exception):
    """Our own C text was refused: a bug of ours, never the caller's."""


class Compiler:
    """Compiles in a process of its own, so that LLVM's memory and crashes are not the daemon's.

    `find_headers` gives what BCC_KERNEL_SOURCE shall say (headers.py), or raises Unavailable: it is
    asked for each worker, since an upgrade of the host moves the headers.
    """

    def __init__(
        self, find_headers: Callable[[], Headers], total: Callable[[], Quota] = Quota
    ) -> None:
        self._time = CompileTime(total)
        self._find_headers = find_headers
        self._headers: Headers | None = None
        # Whose turn it is to have the worker.
        self._turns = FairLock()
        # Of what is kept.
        self._lock = threading.Lock()
        self._worker: subprocess.Popen[str] | None = None
        self._compilations = 0
        # Texts that were compiled by all workers, and what that took.
        self.compilations = 0
        self.seconds = 0.0
        self._objects: OrderedDict[str, BpfObject] = OrderedDict()

    def compile(self, text: str, uid: int = 0, quota: Quota = _NO_LIMIT) -> BpfObject:
        """The object of a C text for a user; compiled once while it stays in the cache.

        Users who wait take turns. Raises LimitExceeded where the user has had its time.
        """
        found = self._kept(text)
        if found is None:
            with self._turns.turn_of(uid):
                # It may have been somebody else's before.
                found = self._kept(text) or self._compile_for(text, uid, quota)
        return found

    def _kept(self, text: str) -> BpfObject | None:
        with self._lock:
            found = self._objects.get(text)
            if found is not None:
                self._objects.move_to_end(text)
            return found

    def _compile_for(self, text: str, uid: int, quota: Quota) -> BpfObject:
        self._time.check(uid, quota)
        begun = time.monotonic_ns()
        try:
            found = self._compile(text)
        finally:
            took = time.monotonic_ns() - begun
            self._time.charge(uid, quota, took)
        self.compilations += 1
        self.seconds += took / 1e9
        with self._lock:
            self._objects[text] = found
            if len(self._objects) > _KEPT_OBJECTS:
                self._objects.popitem(last=False)
        return found

    def warm_up(self) -> None:
        """Start the worker and let it read the headers once, so that the first caller need not."""
        self.compile("int nothing(void *ctx) { return 0; }")

    def close(self) -> None:
        worker = self._worker
        if worker is not None:
            # What it is still busy with nobody waits for.
            worker.kill()
        with self._turns.turn_of(0):
            self._end_worker()

    def _compile(self, text: str) -> BpfObject:
        if self._compilations >= _COMPILATIONS_PER_WORKER:
            self._end_worker()
        request: dict[str, object] = {"text": text, "flags": ["-w"]}
        answer = self._ask(request)
        if "error" in answer and self._headers is not None and not self._headers.present:
            self._end_worker()
            answer = self._ask(request)
        if "error" in answer:
            raise CompileError(answer["error"])
        return BpfObject.from_json(answer)

    def _ask(self, request: dict[str, object]) -> dict[str, str]:
        worker = self._worker or self._start_worker()
        with _Watchdog(worker) as watchdog:
            line = _exchange(worker, json.dumps(request) + "\n")
        self._compilations += 1
        if watchdog.has_barked:
            self._end_worker()
            raise Unavailable(
                f"error: this takes longer to compile than the {_PATIENCE:.0f} s that are allowed; "
                "ask for fewer events, or for a shorter filter"
            )
        if not line.endswith("\n"):
            # Nothing, or the part of an answer that a dying worker got out.
            status = worker.wait()
            self._end_worker()
            raise Unavailable(_told_end(status))
        answer: dict[str, str] = json.loads(line)
        return answer

    def _start_worker(self) -> subprocess.Popen[str]:
        self._headers = self._find_headers()
        # Nothing else: what systemd or an administrator told the daemon is none of its business.
        environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
        self._worker = subprocess.Popen(
            # -P: nothing is imported from the folder that the daemon happens to run in.
            [sys.executable, "-P", "-m", "ptraced.compile_worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**environment, "BCC_KERNEL_SOURCE": str(self._headers.path)},
            # A session of its own: Ctrl-C is for the daemon.
            start_new_session=True,
        )
        self._compilations = 0
        return self._worker

    def _end_worker(self) -> None:
        worker, self._worker = self._worker, None
        if worker is None:
            return
        assert worker.stdin is not None
        assert worker.stdout is not None
        try:
            worker.stdin.close()
        except BrokenPipeError:
            # It died before it took the request, which closing tries to write once more.
            pass
        worker.stdout.close()
        worker.wait()


class _Watchdog:
    """Kills the worker when a compilation takes too long.

    That goes by the worker's own time: on a busy host it may have to wait for a CPU.
    """

    def __init__(self, worker: subprocess.Popen[str]) -> None:
        self.has_barked = False
        self._worker = worker
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def __enter__(self) -> _Watchdog:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        # It may be about to bark.
        self._thread.join()

    def _watch(self) -> None:
        cpu, clock = _cpu_seconds(self._worker.pid), time.monotonic()
        while not self._ended.wait(_PATIENCE / 10):
            used = _cpu_seconds(self._worker.pid) - cpu
            if used > _PATIENCE or time.monotonic() - clock > _PATIENCE * _WAITS:
                self.has_barked = True
                self._worker.kill()
                return


def _cpu_seconds(pid: int) -> float:
    """What a process has used of all CPUs; that of a child which nobody has waited for yet."""
    # MAKE_PROCESS_CPUCLOCK(pid, CPUCLOCK_SCHED): include/linux/posix-timers_types.h.
    return time.clock_gettime(~pid << 3 | 2)


def _exchange(worker: subprocess.Popen[str], request: str) -> str:
    """The line that a worker answers, without its end where it dies."""
    assert worker.stdin is not None
    assert worker.stdout is not None
    try:
        worker.stdin.write(request)
        worker.stdin.flush()
        line = worker.stdout.readline(_ANSWER_CHARACTERS_MAX)
    except BrokenPipeError:
        return ""
    if len(line) == _ANSWER_CHARACTERS_MAX:
        worker.kill()
    return line


def _told_end(status: int) -> str:
    reason = f"the compile worker ended with status {status}"
    if status == -signal.SIGABRT:
        reason = f"{reason}, as it does when it needs more memory than it may have"
    return f"error: {reason}; its own message is in the daemon's log"
