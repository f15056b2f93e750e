"""A compiled BPF module that does not depend on descriptors: what the compiler hands over."""

from __future__ import annotations

import base64
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ptraced.bpf_maps import MapSpec

_INSTRUCTION = struct.Struct("<BBhi")
_LD_IMM64 = 0x18
_PSEUDO_MAP_FD = 1
# Ours, and never the kernel's: the load of a number that is known when a program is linked.
_PSEUDO_OWNER = 15


@dataclass(frozen=True, slots=True)
class Program:
    """Instructions with the places where a map's descriptor belongs: (instruction, map name).

    `owner_loads` are the instructions that load the uid whose tasks count.
    """

    instructions: bytes
    map_references: tuple[tuple[int, str], ...]
    owner_loads: tuple[int, ...] = ()

    def linked(self, descriptors: dict[str, int], owner: int | None = None) -> bytes:
        """The instructions with the descriptors of real maps, and the owner, filled in.

        Raises ValueError for a program that has to know the owner where there is none.
        """
        code = bytearray(self.instructions)
        for index, name in self.map_references:
            struct.pack_into("<i", code, index * 8 + 4, descriptors[name])
        for index in self.owner_loads:
            if owner is None:
                raise ValueError("a program for an owner's tasks, and no owner")
            # From now on the load of a plain constant.
            code[index * 8 + 1] &= 0xF
            struct.pack_into("<I", code, index * 8 + 4, owner)
        return bytes(code)


@dataclass(frozen=True, slots=True)
class BpfObject:
    programs: dict[str, Program]
    maps: dict[str, MapSpec]

    def to_json(self) -> dict[str, Any]:
        return {
            "programs": {
                name: [
                    base64.b85encode(p.instructions).decode(),
                    p.map_references,
                    p.owner_loads,
                ]
                for name, p in self.programs.items()
            },
            "maps": {
                name: [m.type, m.key_size, m.value_size, m.max_entries, m.flags]
                for name, m in self.maps.items()
            },
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> BpfObject:
        return cls(
            programs={
                name: Program(
                    base64.b85decode(code), tuple((i, n) for i, n in references), tuple(loads)
                )
                for name, (code, references, loads) in data["programs"].items()
            },
            maps={name: MapSpec(*values) for name, values in data["maps"].items()},
        )


def joined(parts: Iterable[BpfObject]) -> BpfObject:
    """One object of several that have their maps in common."""
    programs: dict[str, Program] = {}
    maps: dict[str, MapSpec] = {}
    for part in parts:
        programs |= part.programs
        maps |= part.maps
    return BpfObject(programs, maps)


def find_map_references(instructions: bytes, names: dict[int, str]) -> tuple[tuple[int, str], ...]:
    """Where instructions load a map by descriptor, given the names of the descriptors."""
    found = []
    for index, (code, registers, _, immediate) in enumerate(_INSTRUCTION.iter_unpack(instructions)):
        if code == _LD_IMM64 and registers >> 4 == _PSEUDO_MAP_FD:
            found.append((index, names[immediate]))
    return tuple(found)


def find_owner_loads(instructions: bytes) -> tuple[int, ...]:
    """Which instructions load the owner: bpf_pseudo_fd(15, 0) in C."""
    return tuple(
        index
        for index, (code, registers, _, _) in enumerate(_INSTRUCTION.iter_unpack(instructions))
        if code == _LD_IMM64 and registers >> 4 == _PSEUDO_OWNER
    )
