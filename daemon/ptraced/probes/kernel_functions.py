"""The kernel's functions by name: which there are, and which can be probed.

Three lists say so: /proc/kallsyms (proc(5)), which hides addresses from who lacks CAP_SYSLOG;
the functions that ftrace can trace, outside of which the kernel mostly refuses kprobes
(kernel/trace/trace_kprobe.c, within_notrace_func); and the blacklist of kprobes.
"""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

_KALLSYMS = Path("/proc/kallsyms")
_BLACKLIST = Path("/sys/kernel/debug/kprobes/blacklist")
_FILTER_FUNCTIONS = "available_filter_functions"
_SYMBOL = re.compile(rb"^([0-9a-f]+) (\w) ([^\t\n]+)(?:\t\[([^]\n]+)\])?$", re.MULTILINE)
_TEXT_ADDRESS = re.compile(rb"^([0-9a-f]+) [tTwW] ", re.MULTILINE)
_BLACKLISTED = re.compile(r"^0x[0-9a-f]+-0x[0-9a-f]+\t([^\s\[]+)", re.MULTILINE)
# Names under which ftrace lists places that are no functions any more, and the padding
# in front of functions that call_depth tracking and the like make.
_NO_FUNCTIONS = ("__ftrace_invalid_address___", "__pfx_", "__cfi_")
# Code that is made while the kernel runs counts as modules of these names.
_GENERATED = (b"bpf", b"__builtin__")
# More candidates than these take difflib longer than a tenth of a second.
_CANDIDATES_MAX = 1500
_SUGGESTIONS = 3


@dataclass(frozen=True, slots=True)
class Symbol:
    """A line of kallsyms: the letter of nm(1), the address or 0 where hidden, the module or ""."""

    name: str
    letter: str
    address: int
    module: str

    @property
    def is_code(self) -> bool:
        return self.letter in "tTwW"


class KernelFunctions:
    """The lists as they are now; each is read when it is needed and at most once.

    `tracefs` is where tracefs is mounted. A list that cannot be read is None.
    """

    def __init__(self, tracefs: Path) -> None:
        self._tracefs = tracefs

    @property
    def knows_symbols(self) -> bool:
        """Whether there are symbols at all: some containers hide them."""
        return len(self._kallsyms) > 1

    def symbols(self, name: str) -> list[Symbol]:
        """Return the symbols of that name."""
        return [symbol for symbol in self._lines(f" {name}") if symbol.name == name]

    def variants(self, name: str) -> list[str]:
        """Return the names that compilers gave to parts or copies of a function, name.cold."""
        found = {symbol.name for symbol in self._lines(f" {name}.") if symbol.is_code}
        return sorted(one for one in found if one.startswith(f"{name}."))

    def at(self, address: int) -> list[Symbol]:
        """Return the symbols at an address."""
        return [symbol for symbol in self._lines(f"\n{address:016x} ") if symbol.is_code]

    def size_at_most(self, symbol: Symbol) -> int | None:
        """Bytes from a function to the next symbol of code; None where addresses are hidden."""
        if not symbol.address:
            return None
        addresses = (int(found, 16) for found in _TEXT_ADDRESS.findall(self._kallsyms))
        following = min((one for one in addresses if one > symbol.address), default=None)
        return None if following is None else following - symbol.address

    def is_blacklisted(self, name: str) -> bool | None:
        return None if self._blacklist is None else name in self._blacklist

    def is_traceable(self, name: str) -> bool | None:
        """Whether ftrace lists a function, or the one that it is a part of (name.cold)."""
        if self._traceable is None:
            return None
        return name in self._traceable or name.partition(".")[0] in self._traceable

    def probeable(self) -> dict[str, str]:
        """Return the functions that can be probed by name, each with its module or ""."""
        known = self._traceable if self._traceable is not None else self._code
        refused = self._blacklist or frozenset()
        return {name: module for name, module in known.items() if name not in refused}

    def nearest(self, name: str) -> list[str]:
        """Return up to three functions that can be probed with names much like this one."""
        names = _alike(name, self.probeable())
        return difflib.get_close_matches(name, names, n=_SUGGESTIONS, cutoff=0.6)

    def _lines(self, part: str) -> Iterable[Symbol]:
        """The symbols in whose lines a text stands, which may begin with the line's break."""
        wanted, data = part.encode(errors="replace"), self._kallsyms
        at = data.find(wanted)
        while at >= 0:
            start = data.rfind(b"\n", 0, at + 1) + 1
            line = _SYMBOL.match(data, start)
            if line is not None:
                yield Symbol(
                    line[3].decode(errors="replace"),
                    line[2].decode(),
                    int(line[1], 16),
                    (line[4] or b"").decode(errors="replace"),
                )
            at = data.find(wanted, at + 1)

    @cached_property
    def _kallsyms(self) -> bytes:
        try:
            return b"\n" + _KALLSYMS.read_bytes()
        except OSError:
            return b"\n"

    @cached_property
    def _code(self) -> dict[str, str]:
        """Functions of kallsyms, those aside whose name is not theirs alone."""
        lines = (
            line
            for line in _SYMBOL.findall(self._kallsyms)
            if line[1] in b"tTwW" and not line[3].startswith(_GENERATED)
        )
        return _unique((line[2].decode(errors="replace"), line[3].decode()) for line in lines)

    @cached_property
    def _traceable(self) -> dict[str, str] | None:
        try:
            text = (self._tracefs / _FILTER_FUNCTIONS).read_text(errors="replace")
        except OSError:
            return None
        lines = (line.partition(" ") for line in text.splitlines())
        return _unique((name, module.strip("[]")) for name, _, module in lines)

    @cached_property
    def _blacklist(self) -> frozenset[str] | None:
        try:
            return frozenset(_BLACKLISTED.findall(_BLACKLIST.read_text(errors="replace")))
        except OSError:
            return None


_kept: ContextVar[dict[Path, KernelFunctions] | None] = ContextVar("_kept", default=None)


@contextmanager
def read_once() -> Iterator[None]:
    """Have functions_of() give the same lists as long as this lasts: those of one request."""
    token = _kept.set({})
    try:
        yield
    finally:
        _kept.reset(token)


def functions_of(tracefs: Path) -> KernelFunctions:
    """Return the functions of the kernel whose tracefs is mounted there."""
    kept = _kept.get()
    if kept is None:
        return KernelFunctions(tracefs)
    return kept.setdefault(tracefs, KernelFunctions(tracefs))


def _unique(functions: Iterable[tuple[str, str]]) -> dict[str, str]:
    listed = [pair for pair in functions if not pair[0].startswith(_NO_FUNCTIONS)]
    times = Counter(name for name, _ in listed)
    return {name: module for name, module in listed if times[name] == 1}


def _alike(name: str, names: Iterable[str]) -> list[str]:
    """Names that may be a misspelt name's: a third of it is in there, and the length fits.

    difflib takes 10 us for each, and a kernel has 100,000.
    """
    third = max(2, -(-len(name) // 3))
    parts = tuple(name[at : at + third] for at in range(0, len(name), third))
    near = [
        one
        for one in names
        if abs(len(one) - len(name)) <= third and any(part in one for part in parts)
    ]
    near.sort(key=lambda one: abs(len(one) - len(name)))
    return near[:_CANDIDATES_MAX]
