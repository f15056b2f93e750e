"""Addresses of the kernel: who may see them, and which fields of events have them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from ptrace_formats.event_format import EventFormat, FormatField
from ptrace_proto import ptrace_pb2 as pb
from ptraced.identity import Caller
from ptraced.layout import NO_BLANKS, Blanks
from ptraced.origin import USER_PROBES, Probe, Sampled
from ptraced.sampling import counters
from ptraced.sampling.masking import UPPER_HALF
from ptraced.schema import parsed_print_format
from ptraced.selector import SelectedEvent

_SETTINGS = Path("/proc/sys/kernel")
# Their fields are the program's own, and so are what these point to.
_OF_PROGRAMS = frozenset(("syscalls", "raw_syscalls", *USER_PROBES))
# Members of samples that have addresses of the kernel where the kernel was hit.
_SAMPLED = frozenset(("ip", "addr", "regs_intr"))
# Those that have them in forms that are not taken apart, or others than of memory as mapped.
_SAMPLED_ALL = frozenset(("phys_addr", "raw", "branch_stack", "aux"))
_CONVERSION = re.compile(r"%[-+ #0]*(\*|\d+)?(?:\.(\*|\d+))?(?:hh|ll|[hlqjztL])?([a-zA-Z%])(\w*)")
# Behind %p: what prints an address or the symbol there. The others print what lies there:
# IP and MAC addresses, UUIDs (Documentation/core-api/printk-formats.rst).
_ADDRESS = re.compile(r"([xKSsBFf]R?|)(?![a-zA-Z])")
_WORD_BYTES = 8


def shows_addresses(caller: Caller) -> bool:
    """Whether the kernel shows its addresses to a caller.

    As kallsyms_show_value() has it in kernel/ksyms_common.c.
    """
    restricted = _setting("kptr_restrict", 2)
    if restricted == 0 and _setting("perf_event_paranoid", 2) <= 1:
        return True
    return restricted <= 1 and caller.uid == 0


def address_blanks(event: SelectedEvent) -> Blanks:
    """What of an event is blank for whom addresses are hidden from."""
    if isinstance(event.origin, Sampled):
        return Blanks(_SAMPLED_ALL, _SAMPLED)
    if event.format.system in _OF_PROGRAMS:
        return NO_BLANKS
    if isinstance(event.origin, Probe):
        # Registers of the kernel: whatever their type is said to be, they may hold an address.
        words = (field.name for field in event.format.fields if _is_word(field))
        return Blanks(kernel_addresses=frozenset(words))
    return Blanks(kernel_addresses=_printed_addresses(event.format))


def is_kernel_breakpoint(event: SelectedEvent) -> bool:
    """Whether an event is a breakpoint in the kernel; its name has the address."""
    origin = event.origin
    return (
        isinstance(origin, Sampled)
        and origin.type == counters.BREAKPOINT
        and origin.config1 >= UPPER_HALF
    )


@lru_cache(maxsize=4096)
def _printed_addresses(format: EventFormat) -> frozenset[str]:
    """Fields that are pointers, or are printed as such."""
    words = [field for field in format.fields if _is_word(field)]
    printed = _printed_as_addresses(format)
    return frozenset(
        field.name
        for field in words
        if field.kind == pb.FIELD_KIND_POINTER or printed is None or field.name in printed
    )


def _printed_as_addresses(format: EventFormat) -> set[str] | None:
    """The fields in arguments of %p and the like; None where any may be."""
    parsed = parsed_print_format(format)
    if parsed is None:
        text = format.print_fmt
        return None if any(_is_address(found) for found in _CONVERSION.finditer(text)) else set()
    names: set[str] = set()
    arguments = iter(parsed.arguments)
    for conversion in _CONVERSION.finditer(parsed.format):
        if conversion[3] == "%":
            continue
        # Widths and precisions that are arguments, too.
        for _ in range((conversion[1] == "*") + (conversion[2] == "*")):
            next(arguments, None)
        argument = next(arguments, None)
        if argument is not None and _is_address(conversion):
            names.update(_fields(argument))
    return names


def _is_address(conversion: re.Match[str]) -> bool:
    return conversion[3] == "p" and bool(_ADDRESS.match(conversion[4]))


def _fields(expression: pb.Expression) -> Iterator[str]:
    kind = expression.WhichOneof("node")
    if kind == "field":
        yield expression.field
    elif kind == "call":
        for argument in expression.call.arguments:
            yield from _fields(argument)
    elif kind == "named":
        yield from _fields(expression.named.value)


def _is_word(field: FormatField) -> bool:
    numbers = (pb.FIELD_KIND_POINTER, pb.FIELD_KIND_UNSIGNED, pb.FIELD_KIND_SIGNED)
    return field.size == _WORD_BYTES and field.kind in numbers


def _setting(name: str, strictest: int) -> int:
    try:
        return int((_SETTINGS / name).read_text())
    except (OSError, ValueError):
        return strictest
