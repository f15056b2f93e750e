"""Questions about ELF files, answered by a worker process each and remembered."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import threading
from collections import OrderedDict

from ptraced.diagnostics import printable
from ptraced.errors import TraceError, Unavailable
from ptraced.origin import ProbedFile
from ptraced.probes.elf_answer import Found, Refused, from_json

# Seconds of the clock; a worker has 10 s of CPU time.
_PATIENCE = 30
_ANSWER_BYTES_MAX = 16 << 20
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
        with _WORKERS:
            data = _asked_worker(file.fd, question, shown)
    try:
        found = from_json(json.loads(data))
    except ValueError:
        raise Refused(TraceError, f"'{shown}' is damaged: it cannot be read", "path") from None
    _memory.put(key, data)
    return found


def _asked_worker(fd: int, question: dict[str, object], shown: str) -> bytes:
    try:
        done = subprocess.run(
            # -P: nothing is imported from the folder that the daemon happens to run in.
            [sys.executable, "-P", "-m", "ptraced.probes.elf_worker"],
            input=json.dumps(question).encode(),
            stdout=subprocess.PIPE,
            pass_fds=[fd],
            timeout=_PATIENCE,
            start_new_session=True,
            env={name: os.environ[name] for name in ("PYTHONPATH", "PATH") if name in os.environ},
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise Refused(TraceError, f"'{shown}' takes too long to read", "path") from None
    except OSError as error:
        raise Refused(Unavailable, f"'{shown}' cannot be read: {error.strerror}", "path") from None
    if done.returncode > 0:
        raise Refused(
            Unavailable,
            f"'{shown}' cannot be read: the reader ended with status {done.returncode}, its own "
            "message is in the daemon's log",
            "path",
        )
    if done.returncode or len(done.stdout) > _ANSWER_BYTES_MAX:
        raise Refused(
            TraceError, f"'{shown}' takes more time or memory to read than is allowed", "path"
        )
    return done.stdout
