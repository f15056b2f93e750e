"""Registers in samples: which are asked for, and what they are called.

Numbers are of enum perf_event_x86_regs and perf_event_arm_regs (arch/*/include/uapi/asm/
perf_regs.h); names are the specification's.
"""

from __future__ import annotations

import platform
from dataclasses import dataclass

# What a sample without registers has: PERF_SAMPLE_REGS_ABI_NONE.
NO_REGISTERS = bytes(8)
# Of the place that was hit.
_PLACES = ("ip", "pc")
_X86 = ("ax", "bx", "cx", "dx", "si", "di", "bp", "sp", "ip", "flags", "cs", "ss")
# Numbers 12 to 15 are ds, es, fs and gs, which samples of 64-bit kernels do not have.
_X86_UPPER = {f"r{number}": number + 8 for number in range(8, 16)}


@dataclass(frozen=True, slots=True)
class Registers:
    """Names in the order of a sample, and their mask for struct perf_event_attr."""

    names: tuple[str, ...]
    mask: int

    @property
    def place(self) -> int | None:
        """Where the register of the place that was hit stands among the others."""
        return next((self.names.index(name) for name in _PLACES if name in self.names), None)


def _registers(numbers: dict[str, int]) -> Registers:
    names = sorted(numbers, key=numbers.__getitem__)
    return Registers(tuple(names), sum(1 << number for number in numbers.values()))


_I386 = {name: number for number, name in enumerate(_X86)}
_SEGMENTS = {name: number for number, name in enumerate(("ds", "es", "fs", "gs"), start=12)}
_ARM64 = {f"x{number}": number for number in range(30)} | {"lr": 30, "sp": 31, "pc": 32}
# Names by number, of all registers that recordings of others may have.
_NUMBERS = {
    machine: {number: name for name, number in named.items()}
    for machine, named in (
        ("x86_64", _I386 | _SEGMENTS | _X86_UPPER),
        ("i386", _I386 | _SEGMENTS),
        ("i686", _I386 | _SEGMENTS),
        ("aarch64", _ARM64),
    )
}
BY_MACHINE = {
    "x86_64": _registers(_I386 | _X86_UPPER),
    "i386": _registers(_I386),
    "aarch64": _registers(_ARM64),
}


def sampled_names(machine: str, mask: int) -> tuple[str, ...]:
    """The names of the registers that a mask of a machine's (as uname(2) calls it) samples has.

    Those without a name are "r" and their number.
    """
    found = dict(_NUMBERS.get(machine, {}))
    return tuple(
        found.get(number, f"r{number}") for number in range(mask.bit_length()) if mask >> number & 1
    )


def host_registers() -> Registers:
    """The registers of this machine; none where its names are not known."""
    return BY_MACHINE.get(platform.machine(), Registers((), 0))
