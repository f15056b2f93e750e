"""USDT probes: the notes that <sys/sdt.h> leaves in a file.

The format is that of SystemTap's "User Space Probe Implementation": three addresses, then
provider, name and arguments as texts that end in NUL.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from ptraced.diagnostics import nearest, printable
from ptraced.errors import LimitExceeded, NotFound, TraceError
from ptraced.probes.elf_answer import Argument, Found, FoundSite, Refused
from ptraced.probes.elf_image import Image
from ptraced.probes.usdt_operand import parse_operands
from ptraced.probes.user_places import Place

_SECTION = ".note.stapsdt"
_OWNER = b"stapsdt\0"
_TYPE = 3
_HEADER = struct.Struct("<III")
_ADDRESSES = struct.Struct("<QQQ")
_GLOB = re.compile(r"[*?[]")
# Sites of one probe; each is a breakpoint and a program.
_SITES_MAX = 256
_NOTES_MAX = 100_000
_LISTED = 8


@dataclass(frozen=True, slots=True)
class Note:
    """A place of a probe; the addresses are of the ELF, `semaphore` 0 where there is none."""

    provider: str
    name: str
    address: int
    semaphore: int
    arguments: str

    @property
    def full_name(self) -> str:
        return f"{self.provider}:{self.name}"


def find_usdt(image: Image, target: str, most: int) -> list[Found]:
    """The probes that "provider:name" means, sorted by name; raises Refused."""
    notes = [note for note in _notes(image) if note.full_name.isprintable()]
    if not notes:
        raise Refused(TraceError, f"'{image.shown}' has no USDT probes", "path")
    names = sorted({note.full_name for note in notes})
    if target not in names and _GLOB.search(target):
        chosen = [name for name in names if fnmatchcase(name, target)]
    else:
        chosen = [name for name in names if name == target]
    if not chosen:
        raise Refused(
            NotFound,
            f"no USDT probe '{printable(target)}' in '{image.shown}'{_suggestion(target, names)}",
        )
    if len(chosen) > most:
        raise Refused(
            LimitExceeded,
            f"'{printable(target)}' matches {len(chosen)} USDT probes of '{image.shown}', at most "
            f"{most} may be selected",
        )
    return [_found(image, [note for note in notes if note.full_name == name]) for name in chosen]


def _suggestion(target: str, names: Sequence[str]) -> str:
    found = nearest(target, names)
    if found:
        return found
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return f"; it has {', '.join(printable(name) for name in names[:_LISTED])}{more}"


def _found(image: Image, notes: Sequence[Note]) -> Found:
    name = notes[0].full_name
    if len(notes) > _SITES_MAX:
        raise Refused(
            LimitExceeded,
            f"USDT probe '{printable(name)}' is in {len(notes)} places, at most {_SITES_MAX} work",
        )
    operands = [parse_operands(note.arguments, image.machine) for note in notes]
    common = min(len(parsed) for parsed in operands)
    arguments: list[Argument] = []
    places: list[list[Place]] = [[] for _ in notes]
    for number, column in enumerate(zip(*(parsed[:common] for parsed in operands), strict=True), 1):
        # An argument that cannot be had at one of the places is left out of the event.
        known = [operand for operand in column if operand is not None]
        if len(known) == len(column):
            arguments.append(_argument(number, known))
            for at_site, place in zip(places, known, strict=True):
                at_site.append(place)
    sites = [
        FoundSite(note.address, _offset(image, note), tuple(place), _semaphore(image, note))
        for note, place in zip(notes, places, strict=True)
    ]
    return Found(name, tuple(arguments), tuple(sites))


def _argument(number: int, places: Sequence[Place]) -> Argument:
    """The type that fits the argument at all places."""
    signs = {place.signed for place in places}
    # A type of both signs: wide enough for either.
    size = max(place.size for place in places) if len(signs) == 1 else 8
    kind = "signed" if True in signs else "unsigned"
    return Argument(number, f"arg{number}", f"{kind[0]}{size * 8}", kind, size)


def _offset(image: Image, note: Note) -> int:
    offset = image.file_offset(note.address)
    if offset is None:
        raise Refused(
            TraceError,
            f"USDT probe '{printable(note.full_name)}' of '{image.shown}' is not in its code",
        )
    return offset


def _semaphore(image: Image, note: Note) -> int:
    if not note.semaphore:
        return 0
    offset = image.file_offset(note.semaphore, executable=False)
    # The kernel takes 32 bits of it (PERF_UPROBE_REF_CTR_OFFSET_BITS).
    if offset is None or offset >= 1 << 32:
        raise Refused(
            TraceError,
            f"the semaphore of USDT probe '{printable(note.full_name)}' is not in the data of "
            f"'{image.shown}'",
        )
    return offset


def _notes(image: Image) -> Iterator[Note]:
    data = image.data(_SECTION)
    base = image.section(".stapsdt.base")
    at = 0
    for _ in range(_NOTES_MAX):
        if at + _HEADER.size > len(data):
            return
        owner_size, size, kind = _HEADER.unpack_from(data, at)
        at += _HEADER.size
        owner = data[at : at + owner_size]
        at += owner_size + 3 & ~3
        described = data[at : at + size]
        at += size + 3 & ~3
        if owner == _OWNER and kind == _TYPE and len(described) == size >= _ADDRESSES.size:
            yield _note(described, base["sh_addr"] if base is not None else None)


def _note(described: bytes, base: int | None) -> Note:
    address, linked_base, semaphore = _ADDRESSES.unpack_from(described)
    # Notes are not relocated: where prelink(8) moved the file, the section tells how far.
    moved = base - linked_base if base is not None else 0
    texts = described[_ADDRESSES.size :].split(b"\0")
    provider, name, arguments = (
        text.decode(errors="replace") for text in (*texts, b"", b"", b"")[:3]
    )
    return Note(
        provider,
        name,
        address + moved & (1 << 64) - 1,
        semaphore + moved & (1 << 64) - 1 if semaphore else 0,
        arguments,
    )
