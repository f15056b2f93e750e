"""Probes of kernel functions: from a target to the places and their fields, all checked.

The target is a function's name, maybe with an offset in bytes, a glob over the functions
that can be probed, or an address. What the lists of functions leave open is put to the
kernel itself, by a probe that lives for a moment.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from ptrace_formats.event_format import EventFormat
from ptraced.btf_functions import Prototype, prototypes
from ptraced.diagnostics import pointed, printable
from ptraced.errors import LimitExceeded, NotFound, TraceError, Unavailable
from ptraced.numbers import number
from ptraced.origin import Probe, Site
from ptraced.perf_event import attach_kprobe, pmu_type
from ptraced.probes.kernel_fields import (
    Word,
    entry_words,
    place_words,
    record_text,
    return_words,
    with_texts,
)
from ptraced.probes.kernel_functions import Symbol, functions_of
from ptraced.probes.kernel_hints import names_in_words, tracepoint_hint
from ptraced.probes.refusal import kernel_reason
from ptraced.probes.registers import of_host
from ptraced.scope import online_cpus
from ptraced.tracefs import Tracefs

_TARGET = re.compile(r"(?P<name>[A-Za-z_][\w.$]*)(?P<offset>\+(?:0[xX][\da-fA-F]+|\d+))?", re.A)
_ADDRESS = re.compile(r"0[xX][\da-fA-F]{1,16}")
_GLOB = re.compile(r"[\w.$*?\[\]!-]*[*?[][\w.$*?\[\]!-]*", re.A)
# No function is longer: all of the kernel's code has less.
_OFFSET_MAX = 0x7FFFFFFF
# Linux 5.15 and later, commit 9ffd9f3ff719.
_FUNCTION_HELPER = "bpf_get_func_ip_kprobe"
_FUNCTION_ADDRESS = "bpf_get_func_ip(regs)"


@dataclass(frozen=True, slots=True)
class _Target:
    """What is to be probed: `symbol` + `offset`, or the address `offset` without a symbol.

    `function` is the one whose prototype holds there, "" inside of functions; `module` is
    its module, and `certain` says that the kernel will take the probe.
    """

    symbol: str
    offset: int
    function: str
    module: str
    certain: bool

    @property
    def name(self) -> str:
        if not self.symbol:
            return f"{self.offset:#x}"
        return f"{self.symbol}+{self.offset:#x}" if self.offset else self.symbol


class _Finder:
    """What one selector asks for; errors point at `target` in its `text`."""

    def __init__(self, kind: str, target: str, text: str, tracefs: Tracefs, most: int) -> None:
        self._returns = kind == "kretprobe"
        self._kind = kind
        self._target = target
        self._text = text
        self._start = text.find(target, len(kind))
        self._tracefs = tracefs
        self._most = most
        self.functions = functions_of(tracefs.root)

    def find(self) -> list[_Target]:
        parsed = _TARGET.fullmatch(self._target)
        if parsed is None:
            self._check_characters()
        self._check_kprobes()
        if parsed is not None:
            return [self._function(parsed["name"], number((parsed["offset"] or "+0")[1:]))]
        if _ADDRESS.fullmatch(self._target):
            return [self._address(int(self._target, 16))]
        return self._matching()

    def try_out(self, target: _Target) -> None:
        """Have the kernel accept or refuse a probe; raises Unavailable that says why."""
        try:
            # The probe is refused or made before the kernel looks at the program, which is none.
            attach_kprobe(target.symbol, target.offset, self._returns, -1, online_cpus()[0])
        except OSError as error:
            if error.errno == errno.EBADF:
                return
            raise Unavailable(self._pointed(self._refusal(target, error))) from None

    def _refusal(self, target: _Target, error: OSError) -> str:
        message = f"the kernel refuses '{target.name}': "
        if error.errno != errno.EINVAL or not target.symbol:
            return message + kernel_reason(error)
        notrace = self.functions.is_traceable(target.symbol) is False
        reason = "it is marked notrace" if notrace else kernel_reason(error)
        return message + reason + self._tracepoint(target.symbol)

    def _check_characters(self) -> None:
        """Refuse what is no name, address or glob; an offset goes with a name only."""
        if _ADDRESS.fullmatch(self._target) or _GLOB.fullmatch(self._target):
            return
        plus = self._target.find("+")
        if plus >= 0:
            message = (
                "an offset is a number of bytes behind the name of one function: vfs_read+0x10"
            )
            raise TraceError(self._pointed(message, plus))
        message = f"'{printable(self._target)}' is no name of a kernel function"
        raise TraceError(self._pointed(message))

    def _check_kprobes(self) -> None:
        try:
            pmu_type("kprobe")
        except OSError:
            name = self._target.partition("+")[0]
            hint = self._tracepoint(name) or "; tracepoints (sys:name) are there"
            message = f"this kernel has no kprobes (CONFIG_KPROBES is off){hint}"
            raise Unavailable(pointed(message, self._text, 0, len(self._kind))) from None

    def _function(self, name: str, offset: int) -> _Target:
        if self._returns and self._target != name:
            message = "a function returns as a whole: kretprobe takes no offset"
            raise TraceError(self._pointed(message, len(name)))
        if offset > _OFFSET_MAX:
            message = f"no function has as many bytes: an offset is {_OFFSET_MAX:#x} at most"
            raise TraceError(self._pointed(message, len(name)))
        symbols = self.functions.symbols(name)
        code = [symbol for symbol in symbols if symbol.is_code]
        if not symbols and self.functions.knows_symbols:
            self._refuse_unknown(name)
        elif symbols and not code:
            raise TraceError(self._pointed(f"'{name}' is data, no function"))
        elif len(code) > 1:
            self._refuse_ambiguous(name, code)
        if self.functions.is_blacklisted(name):
            message = f"'{name}' is on the kernel's blacklist of functions that kprobes rely on"
            raise Unavailable(self._pointed(message + self._tracepoint(name)))
        size = self.functions.size_at_most(code[0]) if offset and code else None
        if size is not None and offset >= size:
            message = f"'{name}' has {size:#x} bytes at most: {offset:#x} is beyond its end"
            raise TraceError(self._pointed(message, len(name)))
        # Parts that the compiler split off are jumped to, and have no arguments.
        entry = not offset and ".cold" not in name
        return _Target(
            symbol=name,
            offset=offset,
            function=name if entry else "",
            module=code[0].module if code else "",
            certain=self._is_listed(name) and bool(code) and not offset,
        )

    def _is_listed(self, name: str) -> bool:
        refused, traceable = self.functions.is_blacklisted(name), self.functions.is_traceable(name)
        return refused is False and traceable is True

    def _address(self, address: int) -> _Target:
        here = self.functions.at(address)
        return _Target(
            symbol="",
            offset=address,
            function=here[0].name if here else "",
            module=here[0].module if here else "",
            certain=False,
        )

    def _matching(self) -> list[_Target]:
        found = {
            name: module
            for name, module in self.functions.probeable().items()
            if fnmatchcase(name, self._target)
        }
        if not found:
            message = f"no function that can be probed matches '{self._target}'"
            raise NotFound(self._pointed(message))
        if len(found) > self._most:
            message = (
                f"{len(found)} functions match '{self._target}', at most {self._most} can be probed"
            )
            raise LimitExceeded(self._pointed(message))
        return [_Target(name, 0, name, found[name], True) for name in sorted(found)]

    def _refuse_unknown(self, name: str) -> None:
        variants = self.functions.variants(name)
        alike = self.functions.nearest(name)
        if variants:
            hint = f", but what the compiler made of it: {names_in_words(variants, 'and')}"
        elif alike:
            hint = f" (did you mean {names_in_words(alike, 'or')}?)"
        else:
            hint = ": it may be inlined, or not be built into this kernel"
        raise NotFound(self._pointed(f"the kernel has no function '{name}'{hint}"))

    def _refuse_ambiguous(self, name: str, symbols: Sequence[Symbol]) -> None:
        message = f"{len(symbols)} functions are called '{name}'"
        addresses = sorted({symbol.address for symbol in symbols} - {0})
        if addresses:
            places = names_in_words([f"{self._kind}:{address:#x}" for address in addresses], "or")
            message += f": say which by its address, {places}"
        else:
            message += ", which the kernel cannot tell apart by name"
        raise TraceError(self._pointed(message))

    def _tracepoint(self, function: str) -> str:
        return tracepoint_hint(function, self._tracefs.names())

    def _pointed(self, message: str, skipped: int = 0) -> str:
        """An error that points at the target, or at what is behind its first characters."""
        end = self._start + len(self._target)
        return pointed(message, self._text, self._start + skipped, end)


def find_kernel_probes(
    kind: str,
    target: str,
    text: str,
    strings: Mapping[str, int],
    *,
    tracefs: Tracefs,
    most: int,
) -> list[tuple[EventFormat, Probe]]:
    """Return the probes that the target of a kprobe or kretprobe means, sorted by name.

    See find_probes() for the parameters and errors.
    """
    finder = _Finder(kind, target, text, tracefs, most)
    targets = finder.find()
    known = _prototypes(targets)
    has_helper = bool(finder.functions.symbols(_FUNCTION_HELPER))
    found = []
    for one in targets:
        words = _words(kind, one, known.get(one.function), has_helper)
        words = with_texts(words, strings, text)
        fields = tuple(word.field for word in words)
        site = Site(offset=one.offset, record=record_text(words), symbol=one.symbol)
        if not one.certain:
            finder.try_out(one)
        found.append(
            (EventFormat(kind, one.name, 0, (), fields, ""), Probe(kind == "kretprobe", (site,)))
        )
    return found


def _prototypes(targets: Sequence[_Target]) -> dict[str, Prototype]:
    names: dict[str, list[str]] = {}
    for target in targets:
        names.setdefault(target.module, []).append(target.function)
    found: dict[str, Prototype] = {}
    for module, functions in names.items():
        found.update(prototypes(functions, module))
    return found


def _words(kind: str, target: _Target, prototype: Prototype | None, has_helper: bool) -> list[Word]:
    registers = of_host()
    if kind == "kretprobe":
        return return_words(prototype, registers, _FUNCTION_ADDRESS if has_helper else None)
    here = f"{registers.ip} - {registers.kprobe_ip_past}"
    if not target.function:
        return place_words(here)
    # Where functions start with an instruction for indirect branches, the probe is behind it.
    return entry_words(prototype, registers, _FUNCTION_ADDRESS if has_helper else here)
