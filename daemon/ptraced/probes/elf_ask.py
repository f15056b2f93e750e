"""Questions about ELF files, answered by a worker process each and remembered."""

from __future__ import annotations

import json
import os
import platform
import select
import signal
import subprocess
import sys
import threading
import time
from collections import OrderedDict

from ptraced.diagnostics import printable
from ptraced.errors import TraceError, Unavailable
from ptraced.origin import ProbedFile
from ptraced.probes.elf_answer import ANSWER_BYTES_MAX, Found, Refused, from_json

# Seconds of the clock; a worker has 10 s of CPU time.
_PATIENCE = 30
# -P: nothing is imported from the folder that the daemon happens to run in.
_COMMAND = (sys.executable, "-P", "-m", "ptraced.probes.elf_worker")
_READ_BYTES = 1 << 16
_KEPT = 64
_KEPT_BYTES = 4 << 20
# More at once wait for their turn.
_WORKERS = threading.BoundedSemaphore(2)

_Key = tuple[object, ...]


class _Memory:
    """The last answers, by the file as it was and the question; small ones only."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._answers: OrderedDict[_Key, bytes] = OrderedDict()

    def get(self, key: _Key) -> bytes | None:
        with self._lock:
            if key in self._answers:
                self._answers.move_to_end(key)
            return self._answers.get(key)

    def put(self, key: _Key, answer: bytes) -> None:
        with self._lock:
            self._answers[key] = answer
            while len(self._answers) > _KEPT or self._size() > _KEPT_BYTES:
                self._answers.popitem(last=False)

    def _size(self) -> int:
        return sum(len(answer) for answer in self._answers.values())


_memory = _Memory()


def ask(file: ProbedFile, kind: str, target: str, most: int) -> list[Found]:
    """The probes of a file that a target means; raises Refused with a message of one line."""
    shown = printable(file.path)
    key = (file.identity, file.path, kind, target, most)
    data = _memory.get(key)
    if data is None:
        question = {
            "fd": file.fd,
            "shown": shown,
            "machine": platform.machine(),
            "kind": kind,
            "target": target,
            "most": most,
        }
        if not _WORKERS.acquire(timeout=_PATIENCE):
            message = f"'{shown}' has to wait for other files that are being read; try again"
            raise Refused(Unavailable, message, "path")
        try:
            data = _asked_worker(file.fd, question, shown)
        finally:
            _WORKERS.release()
    try:
        found = from_json(json.loads(data))
    except ValueError:
        raise Refused(TraceError, f"'{shown}' is damaged: it cannot be read", "path") from None
    _memory.put(key, data)
    return found


def _asked_worker(fd: int, question: dict[str, object], shown: str) -> bytes:
    try:
        status, answer = _run(fd, json.dumps(question).encode())
    except TimeoutError:
        raise Refused(TraceError, f"'{shown}' takes too long to read", "path") from None
    except OSError as error:
        raise Refused(Unavailable, f"'{shown}' cannot be read: {error.strerror}", "path") from None
    if status > 0:
        raise Refused(
            Unavailable,
            f"'{shown}' cannot be read: the reader ended with status {status}, its own "
            "message is in the daemon's log",
            "path",
        )
    if status or len(answer) > ANSWER_BYTES_MAX:
        raise Refused(
            TraceError, f"'{shown}' takes more time or memory to read than is allowed", "path"
        )
    return answer


def _run(fd: int, question: bytes) -> tuple[int, bytes]:
    """The exit status of a worker and what it writes, which is cut where it is too much.

    Raises TimeoutError, or OSError where there is no worker.
    """
    deadline = time.monotonic() + _PATIENCE
    asked = os.memfd_create("question", os.MFD_CLOEXEC)
    try:
        # From a file, not a pipe: it need not be read for us to go on.
        os.pwrite(asked, question, 0)
        process = subprocess.Popen(
            _COMMAND,
            stdin=asked,
            stdout=subprocess.PIPE,
            pass_fds=[fd],
            start_new_session=True,
            env={name: os.environ[name] for name in ("PYTHONPATH", "PATH") if name in os.environ},
        )
    finally:
        os.close(asked)
    with process:
        try:
            assert process.stdout is not None
            answer = _read(process.stdout.fileno(), deadline)
            if len(answer) <= ANSWER_BYTES_MAX:
                _await_end(process.pid, deadline)
        finally:
            # Whatever else it may have started goes with it. Nobody has waited for it yet: its
            # number is nobody else's.
            os.killpg(process.pid, signal.SIGKILL)
    return process.returncode, answer


def _await_end(pid: int, deadline: float) -> None:
    """Raises TimeoutError for a process that goes on; leaves its status where it is."""
    process = os.pidfd_open(pid)
    try:
        _await(process, deadline)
    finally:
        os.close(process)


def _await(descriptor: int, deadline: float) -> None:
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    if not poll.poll(max(deadline - time.monotonic(), 0) * 1000):
        raise TimeoutError


def _read(pipe: int, deadline: float) -> bytes:
    """All that is written, or more than may be; raises TimeoutError."""
    answer = bytearray()
    while len(answer) <= ANSWER_BYTES_MAX:
        _await(pipe, deadline)
        part = os.read(pipe, _READ_BYTES)
        if not part:
            break
        answer += part
    return bytes(answer)
