"""Samples without addresses of the kernel."""

from __future__ import annotations

import struct

from ptrace_formats.registers import NO_REGISTERS, host_registers

# Where the kernel's addresses begin; those of programs are lower.
UPPER_HALF = 1 << 63
_WORD = struct.Struct("<Q")


def masked(value: int | bytes) -> int | bytes:
    """An address, or 0 in place of one of the kernel; registers, or none where it was hit."""
    if isinstance(value, int):
        return 0 if value >= UPPER_HALF else value
    return NO_REGISTERS if _of_kernel(value) else value


def _of_kernel(registers: bytes) -> bool:
    """Whether registers, with PERF_SAMPLE_REGS_ABI_* before them, are those of kernel code."""
    place = host_registers().place
    if place is None:
        return True
    at = _WORD.size * (1 + place)
    return len(registers) < at + _WORD.size or _WORD.unpack_from(registers, at)[0] >= UPPER_HALF
