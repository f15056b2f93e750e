"""Names of C++ and Rust as their programmers wrote them, without parameters, as perf has them.

c++filt of binutils has the demangler that perf is built with. Where it is not installed, names
stay as files have them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from ptrace_client.perf_symbols.line_tool import LineTool

_MANGLED = re.compile(rb"_Z|_R")
# c++filt takes such a word as one name.
_WORD = re.compile(rb"[A-Za-z0-9_$.]+")
_MANGLED_MAX = 8192
_CAML = re.compile(rb"caml[A-Z]")
_CAML_PART = re.compile(rb"__|\$([0-9a-fA-F]{2})")
# Names sent before their answers are read: fewer than fill a pipe.
_AT_ONCE = 6
_CACHE_MAX = 100_000
_PATIENCE = 5.0
_FAILURES_MAX = 5


class Demangler:
    """Demangles by a child process, which runs from the first mangled name on."""

    def __init__(self) -> None:
        self._tool = LineTool(["c++filt", "-p", "-i"], _PATIENCE)
        self._failures = 0
        self._known: dict[bytes, str] = {}

    def __call__(self, names: Sequence[bytes]) -> list[str]:
        """Return each name as it is shown."""
        wanted = [name for name in dict.fromkeys(names) if self._is_to_ask(name)]
        for start in range(0, len(wanted), _AT_ONCE):
            self._ask(wanted[start : start + _AT_ONCE])
        return [self._known.get(name) or _shown(name) for name in names]

    def close(self) -> None:
        """End the child."""
        self._tool.close()

    def _is_to_ask(self, name: bytes) -> bool:
        return (
            bool(_MANGLED.match(name))
            and len(name) <= _MANGLED_MAX
            and name not in self._known
            and self._failures < _FAILURES_MAX
        )

    def _ask(self, names: list[bytes]) -> None:
        if len(self._known) > _CACHE_MAX:
            self._known.clear()
        # What follows the name ("@@GLIBCXX_3.4") is no part of it.
        words = [found[0] if (found := _WORD.match(name)) else name for name in names]
        try:
            self._tool.send(b"".join(word + b"\n" for word in words))
            for name, word in zip(names, words, strict=True):
                answer = self._tool.line()
                shown = answer if answer != word else name
                self._known[name] = shown.decode(errors="surrogateescape")
        except FileNotFoundError:
            self._failures = _FAILURES_MAX
        except OSError:
            self._failures += 1
            self._tool.close()


def _shown(name: bytes) -> str:
    """A name that is not of C++ or Rust; OCaml's without what its compiler put around it."""
    if _CAML.match(name):
        name = _CAML_PART.sub(_caml_part, name[4:])
    return name.decode(errors="surrogateescape")


def _caml_part(found: re.Match[bytes]) -> bytes:
    return bytes([int(found[1], 16)]) if found[1] else b"."
