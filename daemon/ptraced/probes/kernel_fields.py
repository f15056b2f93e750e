"""The fields of kprobes and kretprobes, and the C that puts them into the record.

    ip              where the kernel was: the function, or the place inside of it; of a
                    kretprobe, where the function returns to
    func            of a kretprobe: the function
    NAME ...        of a kprobe at a function's start: its parameters, of which those
                    are left out that are no scalars or not in registers
    arg1 ... argN   instead of them where the kernel's BTF does not know the function:
                    what the registers for arguments hold
    ret             of a kretprobe: what is returned; not of void functions, nor a structure

A parameter whose name means something else here (ip, func, ret, _NAME and common_NAME) has
"arg_" in front of its name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from ptrace_formats.event_format import FormatField
from ptrace_proto import ptrace_pb2 as pb
from ptraced.btf_functions import Prototype
from ptraced.btf_values import Value
from ptraced.diagnostics import nearest, pointed, printable
from ptraced.errors import TraceError
from ptraced.probes.registers import Registers

WORD_BYTES = 8
_RESERVED = re.compile(r"ip|func|ret|_.*|common_.*")
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SCALARS = frozenset(
    {
        pb.FIELD_KIND_SIGNED,
        pb.FIELD_KIND_UNSIGNED,
        pb.FIELD_KIND_POINTER,
        pb.FIELD_KIND_BOOL,
    }
)
_ADDRESS = Value("", "unsigned long", pb.FIELD_KIND_POINTER, 8, False)
_RAW_ARGUMENT = Value("", "unsigned long", pb.FIELD_KIND_UNSIGNED, 8, False)
_RAW_RETURN = Value("", "long", pb.FIELD_KIND_SIGNED, 8, True)


@dataclass(frozen=True, slots=True)
class Word:
    """A word of the record: the field that is in there and the C expression of its value.

    `number` is that of the parameter, counted from 1; 0 of other fields.
    """

    field: FormatField
    value: str
    number: int = 0


def entry_words(prototype: Prototype | None, registers: Registers, ip: str) -> list[Word]:
    """Return the words of a kprobe where a function starts; `ip` is C for that place."""
    if prototype is None:
        parameters = (_RAW_ARGUMENT,) * len(registers.arguments)
    else:
        parameters = prototype.parameters
    words = [_word(0, "ip", _ADDRESS, ip)]
    for number, (parameter, register) in enumerate(
        zip(parameters, _argument_registers(parameters, registers), strict=True), 1
    ):
        if register:
            name = _name(parameter.name, number, words)
            words.append(_word(len(words), name, parameter, register, number))
    return words


def place_words(ip: str) -> list[Word]:
    """Return the words of a kprobe inside of a function, where registers are anything's."""
    return [_word(0, "ip", _ADDRESS, ip)]


def return_words(
    prototype: Prototype | None, registers: Registers, function: str | None
) -> list[Word]:
    """Return the words of a kretprobe; `function` is C for the function's address."""
    words = [_word(0, "ip", _ADDRESS, registers.ip)]
    if function:
        words.append(_word(len(words), "func", _ADDRESS, function))
    returned = prototype.returned if prototype else _RAW_RETURN
    if returned is not None and returned.kind in _SCALARS:
        words.append(_word(len(words), "ret", returned, registers.returned))
    return words


def with_texts(words: Sequence[Word], strings: Mapping[str, int], text: str) -> list[Word]:
    """Make the fields that `strings` names texts of at most so many bytes in user memory.

    Names are those of fields, or argN by number. Raises TraceError that points into the
    selector `text` for a name that is no pointer's.
    """
    changed = list(words)
    for name, most in strings.items():
        index = _index_of(name, words, text)
        word = changed[index]
        field = replace(
            word.field,
            kind=pb.FIELD_KIND_DYNAMIC_STRING,
            signed=False,
            element_size=1,
            element_signed=False,
            pointed=most,
        )
        changed[index] = replace(word, field=field)
    return changed


def record_text(words: Sequence[Word]) -> str:
    """C that fills the record."""
    return " ".join(f"record[{index}] = (u64)({word.value});" for index, word in enumerate(words))


def _argument_registers(parameters: Sequence[Value], registers: Registers) -> list[str | None]:
    """For each parameter the register that it is in, None of what is no scalar or elsewhere."""
    found: list[str | None] = []
    taken, all = 0, len(registers.arguments)
    for parameter in parameters:
        words = -(-parameter.size // WORD_BYTES)
        if parameter.kind == pb.FIELD_KIND_UNSPECIFIED:
            # Floating point numbers have registers of their own.
            words = 0
        elif words > 2:
            # A copy in memory: on the stack, or behind a pointer.
            words = int(registers.aapcs64)
        if registers.aapcs64 and "int128" in parameter.ctype:
            taken += taken % 2
        if taken + words > all:
            # On Arm no later one goes into registers either.
            taken = all if registers.aapcs64 else taken
            found.append(None)
            continue
        scalar = parameter.kind in _SCALARS
        found.append(registers.arguments[taken] if scalar else None)
        taken += words
    return found


def _name(name: str, number: int, words: Sequence[Word]) -> str:
    """A parameter's name, changed where it means something else."""
    if not _IDENTIFIER.fullmatch(name):
        name = f"arg{number}"
    elif _RESERVED.fullmatch(name):
        name = f"arg_{name}"
    taken = {word.field.name for word in words}
    return name if name not in taken else f"{name}_{number}"


def _word(index: int, name: str, value: Value, c: str, number: int = 0) -> Word:
    field = FormatField(
        name=name,
        ctype=value.ctype,
        kind=value.kind,
        offset=WORD_BYTES * index,
        size=value.size,
        signed=value.signed,
        element_size=value.size,
        element_signed=value.signed,
        relative=False,
    )
    return Word(field, c, number)


def _index_of(name: str, words: Sequence[Word], text: str) -> int:
    arguments = [word for word in words if word.field.name not in ("ip", "func")]
    for word in arguments:
        if name in (word.field.name, f"arg{word.number}"):
            # A register of whatever type may well hold a pointer; a narrower value cannot.
            if word.field.kind != pb.FIELD_KIND_POINTER and word.field.size < WORD_BYTES:
                message = f"'{name}' is no pointer but {word.field.ctype}: it leads to no text"
                raise _at_string(message, name, text)
            return words.index(word)
    if not arguments:
        message = f"this probe has no arguments: str={printable(name)} means nothing"
        raise _at_string(message, name, text)
    names = [word.field.name for word in arguments]
    hint = nearest(name, names) or f" (there are {', '.join(names)})"
    raise _at_string(f"no argument '{printable(name)}'{hint}", name, text)


def _at_string(message: str, name: str, text: str) -> TraceError:
    """An error that points at the name in its str= attribute."""
    attribute = re.search(rf"/\s*str\s*=\s*[\"']?({re.escape(name)})", text)
    start, end = attribute.span(1) if attribute else (0, len(text))
    return TraceError(pointed(message, text, start, end))
