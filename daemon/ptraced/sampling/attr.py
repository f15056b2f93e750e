"""struct perf_event_attr of sampling events."""

from __future__ import annotations

import os
import struct

from ptrace_formats import members as m
from ptrace_formats.registers import host_registers
from ptraced import syscalls
from ptraced.kernel_answers import remembered
from ptraced.origin import Sampled
from ptraced.sampling import counters
from ptraced.sampling.shape import FORMAT_LOST, Shape
from ptraced.scope import online_cpus

# Flags, by their bit in the bit field behind read_format.
DISABLED, EXCLUDE_USER, EXCLUDE_KERNEL, EXCLUDE_HV, EXCLUDE_IDLE = 1, 1 << 4, 1 << 5, 1 << 6, 1 << 7
EXCLUDE_HOST, EXCLUDE_GUEST = 1 << 19, 1 << 20
# How precise `ip` has to be, two bits: 0 to 3.
PRECISE_SHIFT, PRECISE_MAX = 15, 3
_FREQ, _WATERMARK, _USE_CLOCKID = 1 << 10, 1 << 14, 1 << 25
_EXCLUDE_CALLCHAIN_KERNEL, _EXCLUDE_CALLCHAIN_USER = 1 << 21, 1 << 22
_CLOCK_MONOTONIC = 1
_BRANCH_ANY = 1 << 3
# Bytes of an AUX sample that are asked for.
_AUX_BYTES = 4096
# PERF_ATTR_SIZE_VER6, of kernel 5.5: the first with aux_sample_size.
_SIZE = 120
_OPEN_CLOEXEC = 1 << 3


def sample_attr(
    origin: Sampled, shape: Shape, *, watermark: int, depth: tuple[int, int] = (0, 0)
) -> bytes:
    """The attr of an event that is disabled until it is told otherwise.

    Times are of CLOCK_MONOTONIC. The ring becomes readable when `watermark` bytes wait, or at
    every sample where it is 0. `depth` counts frames of the kernel's and the user's stack.
    """
    flags = DISABLED | _USE_CLOCKID | origin.flags
    if origin.frequency:
        flags |= _FREQ
    if watermark:
        flags |= _WATERMARK
    kernel, user = depth
    if shape.sample_type & m.CALLCHAIN:
        flags |= 0 if kernel else _EXCLUDE_CALLCHAIN_KERNEL
        flags |= 0 if user else _EXCLUDE_CALLCHAIN_USER
    of = shape.sample_type
    registers = host_registers().mask
    return struct.pack(
        "<IIQQQQQIIQQQQIiQIHHII",
        origin.type,
        _SIZE,
        origin.config,
        origin.frequency or origin.period,
        of,
        shape.read_format,
        flags,
        watermark or 1,
        origin.breakpoint,
        origin.config1,
        origin.config2,
        _BRANCH_ANY if of & m.BRANCH_STACK else 0,
        registers if of & m.REGS_USER else 0,
        origin.user_stack_bytes if of & m.STACK_USER else 0,
        _CLOCK_MONOTONIC,
        registers if of & m.REGS_INTR else 0,
        0,
        _frames(kernel, user) if of & m.CALLCHAIN else 0,
        0,
        _AUX_BYTES if of & m.AUX else 0,
        0,
    )


def _frames(kernel: int, user: int) -> int:
    """Frames to ask for: the kernel's come first, and leave to the user's what they do not take.

    It has room for so many of both as the setting says; who reads samples cuts the parts.
    """
    return stack_limit() if kernel and user else min(kernel + user, stack_limit())


def counter_attr(origin: Sampled, shape: Shape) -> bytes:
    """The attr of an event that only counts, in the group of one whose samples have `shape`."""
    flags = _USE_CLOCKID | origin.flags
    head = struct.pack(
        "<IIQQQQQ", origin.type, _SIZE, origin.config, 0, 0, shape.read_format, flags
    )
    tail = struct.pack("<8xQQ16x4xi", origin.config1, origin.config2, _CLOCK_MONOTONIC)
    return (head + tail).ljust(_SIZE, b"\0")


def open_event(attr: bytes, cpu: int, group: int = -1) -> int:
    """Open an event on one CPU; returns its descriptor or raises OSError."""
    return syscalls.perf_event_open(attr, -1, cpu, _OPEN_CLOEXEC, group)


@remembered
def counts_lost() -> bool:
    """Whether read(2) tells how many samples were lost (commit 119a784c8127, kernel 6.0)."""
    dummy = Sampled(counters.SOFTWARE, counters.SW_DUMMY, "dummy", period=1)
    os.close(open_event(sample_attr(dummy, Shape(m.TIME, FORMAT_LOST), watermark=1), _cpu()))
    return True


@remembered
def has_hardware() -> bool:
    """Whether this host counts CPU cycles, and so has the usual hardware events."""
    cycles = Sampled(counters.HARDWARE, counters.HW_CPU_CYCLES, "cpu-cycles", period=1 << 20)
    try_open(cycles)
    return True


def can_open(origin: Sampled) -> bool:
    """Whether the kernel would sample such an event."""
    try:
        try_open(origin)
    except OSError:
        return False
    return True


def try_open(origin: Sampled, sample_type: int = m.TIME) -> None:
    """Open and close an event; raises OSError where the kernel refuses it."""
    registers = len(host_registers().names)
    shape = Shape(sample_type, 0, registers, registers)
    os.close(open_event(sample_attr(origin, shape, watermark=1), _cpu()))


def try_count(origin: Sampled) -> None:
    """Open and close an event that only counts; raises OSError where the kernel refuses it."""
    os.close(open_event(counter_attr(origin, Shape(m.TIME)), _cpu()))


def stack_limit() -> int:
    """Frames of a stack at most: kernel.perf_event_max_stack."""
    return setting("perf_event_max_stack")


def setting(name: str) -> int:
    """A number in /proc/sys/kernel."""
    with open(f"/proc/sys/kernel/{name}") as file:
        return int(file.read())


def _cpu() -> int:
    return online_cpus()[0]
