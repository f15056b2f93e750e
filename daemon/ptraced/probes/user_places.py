"""Where a value is when a user probe is hit, and the C that gets it from there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ptraced.probes.registers import of_host

# What assemblers call the registers of integer arguments (System V ABI, AAPCS64), of what
# functions return, and the stack pointer.
ARGUMENTS = {
    "x86_64": ("rdi", "rsi", "rdx", "rcx", "r8", "r9"),
    "aarch64": tuple(f"x{number}" for number in range(8)),
}
RETURNED = {"x86_64": "rax", "aarch64": "x0"}
STACK_POINTER = {"x86_64": "rsp", "aarch64": "sp"}
_S64 = 1 << 63


@dataclass(frozen=True, slots=True)
class Place:
    """A register, a constant, or memory of the process.

    Registers are named as in registers.py. Memory is at base + index * scale + displacement,
    where each register may be "" for none; a constant is the displacement alone. The value has
    `size` bytes (1, 2, 4, 8), in a register the low ones.
    """

    what: str
    base: str = ""
    displacement: int = 0
    index: str = ""
    scale: int = 1
    size: int = 8
    signed: bool = False

    @classmethod
    def from_json(cls, place: Any) -> Place:
        """Check what the worker says; raises ValueError, KeyError or TypeError."""
        result = cls(**place)
        known = of_host().named
        if result.what not in ("register", "memory", "constant") or (
            result.base not in known and (result.base or result.what == "register")
        ):
            raise ValueError("an unknown place")
        if result.index and result.index not in known:
            raise ValueError("an unknown index register")
        if type(result.displacement) is not int or not -_S64 <= result.displacement < _S64:
            raise ValueError("a displacement out of range")
        if type(result.signed) is not bool or not all(
            type(number) is int and number in (1, 2, 4, 8) for number in (result.scale, result.size)
        ):
            raise ValueError("an impossible scale, size or sign")
        return result


def fetch(place: Place, word: int) -> str:
    """C that sets record[word] to the value at `place`, widened to 64 bits.

    What cannot be read, since its page is not in memory, is 0.
    """
    registers = of_host().named
    ctype = f"{'s' if place.signed else 'u'}{place.size * 8}"
    widened = "(u64)(s64)" if place.signed else "(u64)"
    if place.what == "constant":
        return f"record[{word}] = {widened}({ctype}){_literal(place.displacement)};"
    if place.what == "register":
        return f"record[{word}] = {widened}({ctype}){registers[place.base]};"
    address = [_literal(place.displacement)]
    if place.base:
        address.append(f"(u64){registers[place.base]}")
    if place.index:
        address.append(f"(u64){registers[place.index]} * {place.scale}")
    return (
        f"{{ {ctype} value = 0; "
        f"bpf_probe_read_user(&value, {place.size}, (void *)({' + '.join(address)})); "
        f"record[{word}] = {widened}value; }}"
    )


def _literal(value: int) -> str:
    return f"{value & (2 * _S64 - 1):#x}ull"
