"""C++ and Rust names as their programmers wrote them.

Mangled names come from files that anybody may have made, and one of a hundred characters
can stand for gigabytes. So a child process does it, with little memory; it has a moment per
name, and is replaced when it fails. C++ names go to the C++ runtime's own demangler
(__cxa_demangle of the Itanium ABI), which BCC needs anyway, Rust's to rust-demangler.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import resource
import select
import signal
import struct
import sys
import time
from collections import deque
from collections.abc import Callable

from ptraced import sandbox

# Seconds that a name may take, and bytes that the child may use beyond what it has.
_PATIENCE = 0.5
# Seconds until the child must have begun.
_START_PATIENCE = 10.0
_MEMORY = 256 << 20
_MANGLED_MAX = 8192
_DEMANGLED_MAX = 16384
# When so many names failed within so many seconds, others stay as they are for as long.
_FAILURES_MAX, _FAILURES_WITHIN = 20, 60.0

_READY = b"ready"
_LENGTH = struct.Struct("=I")
_MANGLED = re.compile(r"_Z|_R[A-Z0-9]")
# Parts that a compiler split off: "_Z3foov.cold", "_Z3foov.isra.0"; jumps to "_Z3foov@plt".
_CLONE = re.compile(r"(?:\.\w+)+$|@plt$")
# Rust's first scheme: a C++ name that ends in a hash, with what C++ has not as $...$.
_RUST_HASH = re.compile(r"::h[0-9a-f]{16}$")
_RUST_ESCAPE = re.compile(r"\$(\w+)\$")
_RUST_ESCAPES = {
    "SP": "@",
    "BP": "*",
    "RF": "&",
    "LT": "<",
    "GT": ">",
    "LP": "(",
    "RP": ")",
    "C": ",",
}


class Demangler:
    """Demangles, in a child process that is started when first needed."""

    def __init__(self) -> None:
        self._child: tuple[int, int, int] | None = None
        self._failed_at: deque[float] = deque(maxlen=_FAILURES_MAX)
        # How often a name took too much.
        self.failures = 0

    def demangle(self, name: str) -> str:
        """The name as in source; as it is where it is not mangled, or cannot be told."""
        if (
            not _MANGLED.match(name)
            or len(name) > _MANGLED_MAX
            or not name.isascii()
            or self._gives_up()
        ):
            return name
        mangled = _CLONE.sub("", name)
        try:
            return self._ask(mangled) + name[len(mangled) :]
        except OSError:
            self.failures += 1
            self._failed_at.append(time.monotonic())
            self.close()
            return name

    def close(self) -> None:
        if self._child is None:
            return
        (pid, *fds), self._child = self._child, None
        for fd in fds:
            os.close(fd)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)

    def _gives_up(self) -> bool:
        failed = self._failed_at
        return len(failed) == failed.maxlen and time.monotonic() - failed[0] < _FAILURES_WITHIN

    def _ask(self, name: str) -> str:
        if self._child is None:
            self._child = _start_child()
            _read(self._child[2], len(_READY), _START_PATIENCE)
        _, questions, answers = self._child
        os.write(questions, _LENGTH.pack(len(name)) + name.encode())
        (size,) = _LENGTH.unpack(_read(answers, _LENGTH.size, _PATIENCE))
        return _read(answers, size, _PATIENCE).decode(errors="replace")


def _read(fd: int, size: int, patience: float) -> bytes:
    """Exactly `size` bytes of the child; OSError if it lets wait for longer, or has ended."""
    data = b""
    while len(data) < size:
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        if not poll.poll(patience * 1000):
            raise TimeoutError
        part = os.read(fd, size - len(data))
        if not part:
            raise BrokenPipeError
        data += part
    return data


def _start_child() -> tuple[int, int, int]:
    """A process that answers, and the descriptors to ask it and to hear it."""
    child_in, questions = os.pipe()
    answers, child_out = os.pipe()
    pid = os.fork()
    if pid:
        os.close(child_in)
        os.close(child_out)
        return pid, questions, answers
    try:
        _close_all_but(child_in, child_out)
        _limit_memory()
        _serve(child_in, child_out)
    except BaseException:
        os._exit(1)
    os._exit(0)


def _close_all_but(*kept: int) -> None:
    """Close what was open when the child was forked, but for standard error."""
    for fd in map(int, os.listdir("/proc/self/fd")):
        if fd not in (2, *kept):
            with contextlib.suppress(OSError):
                os.close(fd)


def _limit_memory() -> None:
    with open("/proc/self/statm", "rb") as file:
        pages = int(file.read().split()[0])
    limit = pages * resource.getpagesize() + _MEMORY
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _serve(questions: int, answers: int) -> None:
    sys.setrecursionlimit(2000)
    cxx, rust = _cxx_demangler(), _rust_demangler()
    # Names come from files that anybody may have made.
    sandbox.give_up_privileges()
    sandbox.confine_thread()
    os.write(answers, _READY)
    with os.fdopen(questions, "rb") as asked:
        while head := asked.read(_LENGTH.size):
            name = asked.read(_LENGTH.unpack(head)[0]).decode()
            found = rust(name) if name.startswith("_R") else cxx(name)
            data = (found or name).encode(errors="replace")[:_DEMANGLED_MAX]
            os.write(answers, _LENGTH.pack(len(data)) + data)


def _cxx_demangler() -> Callable[[str], str]:
    try:
        function = ctypes.CDLL("libstdc++.so.6").__cxa_demangle
    except (OSError, AttributeError):
        return lambda name: name
    function.restype = ctypes.c_void_p
    free = ctypes.CDLL(None).free
    free.argtypes = [ctypes.c_void_p]

    def demangle(name: str) -> str:
        status = ctypes.c_int()
        at = function(name.encode(), None, None, ctypes.byref(status))
        if not at:
            return name
        try:
            text = ctypes.string_at(at).decode(errors="replace")
        finally:
            free(at)
        return without_rust_hash(text)

    return demangle


def _rust_demangler() -> Callable[[str], str]:
    from rust_demangler import demangle

    def demangled(name: str) -> str:
        try:
            text: str = demangle(name)
        except Exception:
            # It raises whatever a malformed name happens to lead to.
            return name
        return text.replace("{closure:#", "{closure#")

    return demangled


def without_rust_hash(text: str) -> str:
    """A C++ name as it is; one of Rust's first scheme without its hash and escapes.

    >>> without_rust_hash("_$LT$r..Sq$u20$as$u20$r..Shape$GT$::area::h0123456789abcdef")
    '<r::Sq as r::Shape>::area'
    """
    if not _RUST_HASH.search(text):
        return text
    text = _RUST_HASH.sub("", text).replace("..", "::")
    text = _RUST_ESCAPE.sub(lambda match: _rust_escape(match[1], match[0]), text)
    return re.sub(r"(^|::)_(?=[^\w:])", r"\1", text)


def _rust_escape(code: str, whole: str) -> str:
    if code in _RUST_ESCAPES:
        return _RUST_ESCAPES[code]
    if re.fullmatch("u[0-9a-f]{1,5}", code):
        return chr(int(code[1:], 16))
    return whole
