"""Values at fixed places of a record, unpacked by one struct."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from struct import Struct


@dataclass(frozen=True, slots=True)
class Place:
    """Where a value lies, in bytes from the start; a struct code for it, and what it is called."""

    offset: int
    size: int
    code: str
    name: str


def lay_out(places: Iterable[Place], order: str) -> tuple[Struct, tuple[str, ...], list[Place]]:
    """Return a struct for as many places as do not overlap, their names, and the other places.

    The struct is as long as everything; `order` is struct's prefix for the byte order.
    """
    codes, names, others, position, size = [order], [], [], 0, 0
    for place in sorted(places, key=lambda place: place.offset):
        size = max(size, place.offset + place.size)
        if place.offset < position:
            others.append(place)
            continue
        codes.append(f"{place.offset - position}x{place.code}")
        names.append(place.name)
        position = place.offset + place.size
    codes.append(f"{size - position}x")
    return Struct("".join(codes)), tuple(names), others
