"""Hardware breakpoints: ADDRESS[/LENGTH][:rwx], as perf-prof and perf take them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from ptraced.numbers import TOO_LARGE, number

_KALLSYMS = Path("/proc/kallsyms")
_SPEC = re.compile(
    r"(?P<address>0[xX][0-9a-fA-F]+|[0-9]+|(?P<symbol>[A-Za-z_.][\w.]*)"
    r"(?:\+(?P<offset>0[xX][0-9a-fA-F]+|[0-9]+))?)"
    r"(?:/(?P<length>[^/:\s]*))?(?::(?P<access>\S*))?"
)
# A slash before a length, and what stands before that slash.
_LENGTH = re.compile(r"/[0-9]+(?::[a-z]*)?(?=[\s/,]|$)")
_BEFORE_LENGTH = re.compile(r"(?:^|,)\s*(?:breakpoint\s*/[^/]*|mem:[^/,\s]+)$")
_BEFORE_LENGTH_MAX = 256
# HW_BREAKPOINT_* in include/uapi/linux/hw_breakpoint.h.
_BITS = {"r": 1, "w": 2, "x": 4}
_WRITE, _READ_WRITE, _EXECUTE = 2, 3, 4
_LENGTHS = (1, 2, 4, 8)
_LONG = 8


@dataclass(frozen=True, slots=True)
class Breakpoint:
    """`length` in bytes, `access` the bits of bp_type."""

    address: int
    length: int
    access: int

    @property
    def name(self) -> str:
        """As perf calls it."""
        access = "".join(char for char, bit in _BITS.items() if self.access & bit)
        return f"mem:0x{self.address:x}/{self.length}:{access}"


class BreakpointError(Exception):
    """Why spec[start:end] is no breakpoint."""

    def __init__(self, message: str, start: int, end: int) -> None:
        super().__init__(message)
        self.start = start
        self.end = end


def is_length(text: str, at: int) -> bool:
    """Whether the slash text[at], of a list of selectors, stands before a breakpoint's length.

    >>> is_length("breakpoint/0x1000/8:w/", 17)
    True
    """
    return bool(
        _LENGTH.match(text, at) and _BEFORE_LENGTH.search(text, max(0, at - _BEFORE_LENGTH_MAX), at)
    )


def parse_breakpoint(spec: str, length: int, access: str) -> Breakpoint:
    """A breakpoint as typed; `length` and `access` are what it has unless it says otherwise.

    Raises BreakpointError.
    """
    found = _SPEC.fullmatch(spec)
    if found is None:
        raise BreakpointError(
            "a breakpoint is ADDRESS[/LENGTH][:rwx], such as 0x404040/8:w", 0, len(spec)
        )
    bits = _access(found["access"], access, found)
    default = _LONG if bits == _EXECUTE else length
    size = _length(found, default, bits)
    if found["symbol"]:
        address = _symbol(found["symbol"]) + number(found["offset"] or "0")
    else:
        address = number(found["address"])
    if address >= TOO_LARGE:
        raise BreakpointError("an address has 64 bits", *found.span("address"))
    if bits != _EXECUTE and address % size:
        raise BreakpointError(
            f"a breakpoint of {size} bytes starts at a multiple of {size}", *found.span("address")
        )
    return Breakpoint(address, size, bits)


def _access(typed: str | None, default: str, found: re.Match[str]) -> int:
    chars = default if typed is None else typed
    if not chars or set(chars) - set(_BITS) or len(set(chars)) != len(chars):
        raise BreakpointError(
            "a breakpoint is for r (reads and writes), w (writes) or x (execution)",
            *found.span("access"),
        )
    bits = sum(_BITS[char] for char in chars)
    if bits & _EXECUTE and bits != _EXECUTE:
        raise BreakpointError("x stands alone: code is executed, not read", *found.span("access"))
    # Processors tell reads only together with writes.
    return _READ_WRITE if bits & 1 else bits


def _length(found: re.Match[str], default: int, bits: int) -> int:
    typed = found["length"]
    if typed is None:
        return default
    size = int(typed) if re.fullmatch(r"[0-9]{1,3}", typed) else 0
    if size not in _LENGTHS:
        raise BreakpointError("a breakpoint has 1, 2, 4 or 8 bytes", *found.span("length"))
    if bits == _EXECUTE and size != _LONG:
        raise BreakpointError(
            f"a breakpoint on execution has {_LONG} bytes, sizeof(long)", *found.span("length")
        )
    return size


def _symbol(name: str) -> int:
    """The address of a symbol of the kernel."""
    wanted = f" {name}".encode()
    with _KALLSYMS.open("rb") as file:
        for line in file:
            # "ffffffff82c0a040 D jiffies", or with a tab and "[module]" behind it.
            if line[18:].rstrip().partition(b"\t")[0] == wanted:
                address = int(line[:16], 16)
                if not address:
                    break
                return address
        else:
            raise BreakpointError(
                f"the kernel has no symbol '{name}' in /proc/kallsyms; variables are there with "
                "CONFIG_KALLSYMS_ALL",
                0,
                len(name),
            )
    raise BreakpointError(
        "the kernel hides its addresses from ptraced: it needs CAP_SYSLOG, or "
        "kernel.kptr_restrict=0",
        0,
        len(name),
    )
