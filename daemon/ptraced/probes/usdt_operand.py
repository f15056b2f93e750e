"""Arguments of USDT probes: assembler operands such as "-4@%edi" or "8@16(%rbp)".

Before the @ stands the size in bytes, negative for signed values, with an f for floats.
What an operand of another form means is not guessed: the argument is left out.
"""

from __future__ import annotations

import re
from dataclasses import replace

from ptraced.probes.registers import of_machine
from ptraced.probes.user_places import Place

_SIZE = re.compile(r"(-?)([1248])(f?)")
# Assemblers take 010 as octal, and no compiler writes it: nobody can have meant it.
_NUMBER = r"[+-]?(?:0[xX][0-9a-fA-F]{1,16}|0|[1-9][0-9]{0,19})"
# Words that start with a size; operands of aarch64 have spaces inside of brackets.
_WORD = re.compile(r"-?[0-9]+f?@(?:\[[^]]*\]|\([^)]*\)|[^\s([]*(?:\([^)]*\)|\[[^]]*\])?)(?:\s|$)")
# <sys/sdt.h> has macros for 12; records of probes are small.
_ARGUMENTS_MAX = 16

_X86_REGISTER = re.compile(r"%(\w+)")
_X86_CONSTANT = re.compile(rf"\$({_NUMBER})")
_X86_MEMORY = re.compile(
    rf"(?P<displacement>{_NUMBER})?\((?:%(?P<base>\w+))?(?:,\s*%(?P<index>\w+))?"
    r"(?:,\s*(?P<scale>[1248]))?\)"
)
_ARM_REGISTER = re.compile(r"(\w+)")
_ARM_CONSTANT = re.compile(rf"#?({_NUMBER})")
_ARM_MEMORY = re.compile(rf"\[(?P<base>\w+)(?:\s*,\s*#?(?P<displacement>{_NUMBER}))?\]")


def parse_operands(arguments: str, machine: str) -> list[Place | None]:
    """The arguments of a note in their order; None for each that is not understood."""
    found: list[Place | None] = []
    at = 0
    text = arguments.strip()
    while at < len(text) and len(found) < _ARGUMENTS_MAX:
        word = _WORD.match(text, at)
        if word is None:
            # What this is, and so where the next one starts, is not known.
            break
        found.append(_operand(word[0].strip(), machine))
        at = word.end()
        while at < len(text) and text[at].isspace():
            at += 1
    return found


def _operand(word: str, machine: str) -> Place | None:
    size, _, what = word.partition("@")
    parsed = _SIZE.fullmatch(size)
    if parsed is None or parsed[3]:
        return None
    place = _x86_place(what, machine) if machine == "x86_64" else _arm_place(what, machine)
    if place is None:
        return None
    return replace(place, size=int(parsed[2]), signed=bool(parsed[1]))


def _x86_place(what: str, machine: str) -> Place | None:
    named = of_machine(machine).named
    if register := _X86_REGISTER.fullmatch(what):
        return Place("register", register[1]) if register[1] in named else None
    if constant := _X86_CONSTANT.fullmatch(what):
        return _constant(constant[1])
    memory = _X86_MEMORY.fullmatch(what)
    if memory is None:
        return None
    base, index = memory["base"] or "", memory["index"] or ""
    # Addresses that are relative to the next instruction, or made of narrow registers, occur
    # for variables of no use here; a wrong value would be worse than none.
    if not base.startswith("r") or base == "rip" or not (not index or index.startswith("r")):
        return None
    if base not in named or (index and index not in named):
        return None
    displacement = int(memory["displacement"] or "0", 0)
    return _bounded(Place("memory", base, displacement, index, int(memory["scale"] or 1)))


def _arm_place(what: str, machine: str) -> Place | None:
    named = of_machine(machine).named
    if constant := _ARM_CONSTANT.fullmatch(what):
        return _constant(constant[1])
    if register := _ARM_REGISTER.fullmatch(what):
        return Place("register", register[1]) if register[1] in named else None
    memory = _ARM_MEMORY.fullmatch(what)
    if memory is None or memory["base"] not in named or memory["base"].startswith("w"):
        return None
    return _bounded(Place("memory", memory["base"], int(memory["displacement"] or "0", 0)))


def _constant(text: str) -> Place | None:
    value = int(text, 0)
    # An unsigned constant may be written either way.
    return _bounded(Place("constant", displacement=value - (1 << 64) if value >> 63 > 0 else value))


def _bounded(place: Place) -> Place | None:
    return place if -(1 << 63) <= place.displacement < 1 << 63 else None
