"""Where functions find their arguments, and what assemblers call registers, by machine.

Everything is C over `struct pt_regs *regs` as the kernel's headers declare it
(arch/x86/include/asm/ptrace.h, arch/arm64/include/asm/ptrace.h), of type unsigned long.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass

from ptraced.errors import Unavailable


@dataclass(frozen=True, slots=True)
class Registers:
    """The registers of a machine.

    `arguments` are those of the first integer arguments of a C function, `returned` that of
    its value, `ip` that of the next instruction, of which a kprobe's handler finds
    `kprobe_ip_past` bytes more than the probe's place. `aapcs64` says that calls follow the
    Procedure Call Standard for the Arm 64-bit Architecture, else it is System V's for x86-64.
    `named` has all names that an assembler has for the general registers, without '%'; those
    of narrow ones are C whose low bytes are the register.
    """

    arguments: tuple[str, ...]
    returned: str
    ip: str
    sp: str
    kprobe_ip_past: int
    aapcs64: bool
    named: Mapping[str, str]


def of_machine(machine: str) -> Registers:
    """Return the registers of a machine by its name in uname(2); raises Unavailable."""
    try:
        return _MACHINES[machine]
    except KeyError:
        raise Unavailable(
            f"error: probes are not available on {machine}, only on {' and '.join(_MACHINES)}: "
            "which registers hold arguments is not known"
        ) from None


def of_host() -> Registers:
    """Return the registers of this machine; raises Unavailable."""
    return of_machine(platform.machine())


def _x86_names() -> dict[str, str]:
    names = {"rip": "regs->ip", "eip": "regs->ip"}
    for letter in "abcd":
        place = f"regs->{letter}x"
        names |= dict.fromkeys((f"r{letter}x", f"e{letter}x", f"{letter}x", f"{letter}l"), place)
        names[f"{letter}h"] = f"({place} >> 8)"
    for pair in ("si", "di", "bp", "sp"):
        names |= dict.fromkeys((f"r{pair}", f"e{pair}", pair, f"{pair}l"), f"regs->{pair}")
    for number in range(8, 16):
        for suffix in ("", "d", "w", "b", "l"):
            names[f"r{number}{suffix}"] = f"regs->r{number}"
    return names


def _arm64_names() -> dict[str, str]:
    names = {"sp": "regs->sp", "pc": "regs->pc", "wsp": "regs->sp"}
    for number in range(31):
        names |= dict.fromkeys((f"x{number}", f"w{number}"), f"regs->regs[{number}]")
    return names | {"fp": "regs->regs[29]", "lr": "regs->regs[30]", "xzr": "0UL", "wzr": "0UL"}


_MACHINES = {
    "x86_64": Registers(
        arguments=tuple(f"regs->{name}" for name in ("di", "si", "dx", "cx", "r8", "r9")),
        returned="regs->ax",
        ip="regs->ip",
        sp="regs->sp",
        # int3 has been executed, or it looks so (arch/x86/kernel/kprobes/ftrace.c).
        kprobe_ip_past=1,
        aapcs64=False,
        named=_x86_names(),
    ),
    "aarch64": Registers(
        arguments=tuple(f"regs->regs[{number}]" for number in range(8)),
        returned="regs->regs[0]",
        ip="regs->pc",
        sp="regs->sp",
        kprobe_ip_past=0,
        aapcs64=True,
        named=_arm64_names(),
    ),
}
