"""The fields of user probes, and the C that fills their record: a 64-bit word for each."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from ptrace_formats.event_format import FormatField
from ptrace_proto import ptrace_pb2 as pb
from ptraced.diagnostics import nearest, printable
from ptraced.probes.elf_answer import Argument, Found, FoundSite
from ptraced.probes.registers import of_host
from ptraced.probes.user_places import fetch

_WORD = 8
_KINDS = {
    "signed": pb.FIELD_KIND_SIGNED,
    "unsigned": pb.FIELD_KIND_UNSIGNED,
    "pointer": pb.FIELD_KIND_POINTER,
    "bool": pb.FIELD_KIND_BOOL,
}
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
_NUMBERED = re.compile(r"arg([1-9][0-9]{0,2})")
# Events have these of their own, or may come to have them.
_TAKEN = re.compile(r"ip|func|ret|_.*|common_.*")


class UnknownStrings(Exception):
    """str= names something that is no text of the probe; `name` is what it says."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(message)
        self.name = name


def probe_fields(
    found: Sequence[Found], strings: Mapping[str, int]
) -> list[tuple[FormatField, ...]]:
    """The fields of each probe; raises UnknownStrings for a string that none of them has."""
    named = [list(_names(probe.arguments)) for probe in found]
    for wanted in strings:
        _check(wanted, found, named)
    return [
        tuple(_fields(probe.arguments, names, strings))
        for probe, names in zip(found, named, strict=True)
    ]


def record(site: FoundSite) -> str:
    """C that fills the record at a site of a probe."""
    parts = [f"record[0] = (u64){of_host().ip};"]
    parts += [fetch(place, word) for word, place in enumerate(site.places, 1)]
    return " ".join(parts)


def _names(arguments: Sequence[Argument]) -> Iterator[str]:
    """Names of fields: arguments' own where they are no other field's, else by number."""
    given: set[str] = set()
    for argument in arguments:
        name = argument.name
        if not _IDENTIFIER.fullmatch(name):
            name = f"arg{argument.number}"
        # What is returned is no argument: it is `ret`.
        if argument.number and _TAKEN.fullmatch(name):
            name += "_"
        while name in given:
            name += "_"
        given.add(name)
        yield name


def _fields(
    arguments: Sequence[Argument], names: Sequence[str], strings: Mapping[str, int]
) -> Iterator[FormatField]:
    yield _field("ip", "void *", pb.FIELD_KIND_POINTER, 0, 8, False)
    for word, (argument, name) in enumerate(zip(arguments, names, strict=True), 1):
        most = next((strings[key] for key in strings if _means(key, argument, name)), 0)
        if most:
            kind = pb.FIELD_KIND_DYNAMIC_STRING
            yield _field(name, argument.ctype, kind, word, 8, False, most)
        else:
            kind = _KINDS[argument.kind]
            signed = argument.kind == "signed"
            yield _field(name, argument.ctype, kind, word, argument.size, signed)


def _field(
    name: str,
    ctype: str,
    kind: pb.FieldKind,
    word: int,
    size: int,
    signed: bool,
    most: int = 0,
) -> FormatField:
    return FormatField(
        name=name,
        ctype=ctype,
        kind=kind,
        offset=word * _WORD,
        size=size,
        signed=signed,
        element_size=1 if most else size,
        element_signed=signed,
        relative=False,
        pointed=most,
    )


def _means(wanted: str, argument: Argument, name: str) -> bool:
    number = _NUMBERED.fullmatch(wanted)
    return wanted in (name, argument.name) or (
        number is not None and int(number[1]) == argument.number
    )


def _check(wanted: str, found: Sequence[Found], named: Sequence[Sequence[str]]) -> None:
    """Refuse a string that no probe has, or that one has as something else than a pointer."""
    known: list[str] = []
    seen = False
    for probe, names in zip(found, named, strict=True):
        known += names
        for argument, name in zip(probe.arguments, names, strict=True):
            if _means(wanted, argument, name):
                seen = True
                if argument.size != _WORD:
                    message = f"'{wanted}' of {printable(probe.name)} is no pointer but"
                    raise UnknownStrings(wanted, f"{message} {argument.ctype}")
    if not seen:
        which = printable(found[0].name) if len(found) == 1 else "what matches"
        raise UnknownStrings(wanted, f"no argument '{wanted}' of {which}{nearest(wanted, known)}")
