"""Objects travel between processes whole, and are linked to maps by name."""

from __future__ import annotations

import json
import struct

import pytest

from ptraced.bpf_maps import MapSpec
from ptraced.bpf_object import BpfObject, Program, find_map_references, find_owner_loads

MOV_R0 = struct.pack("<BBhi", 0xB7, 0, 0, 5)
EXIT = struct.pack("<BBhi", 0x95, 0, 0, 0)


def load64(pseudo: int, immediate: int) -> bytes:
    """A load of 64 bits into r1: two instructions, the second with the upper half."""
    return struct.pack("<BBhi", 0x18, pseudo << 4 | 1, 0, immediate) + struct.pack(
        "<BBhi", *[0] * 4
    )


def test_loads_of_maps_are_found_at_their_instruction() -> None:
    code = MOV_R0 + load64(1, 7) + load64(1, 9) + load64(1, 7) + EXIT

    assert find_map_references(code, {7: "rows", 9: "lost"}) == (
        (1, "rows"),
        (3, "lost"),
        (5, "rows"),
    )


def test_a_plain_constant_of_64_bits_is_no_map() -> None:
    assert find_map_references(load64(0, 7) + EXIT, {7: "rows"}) == ()


def test_a_map_that_nobody_named_is_an_error() -> None:
    with pytest.raises(KeyError):
        find_map_references(load64(1, 8), {7: "rows"})


def test_linking_fills_in_descriptors_and_leaves_the_rest() -> None:
    program = Program(MOV_R0 + load64(1, 7) + load64(1, 9) + EXIT, ((1, "rows"), (3, "lost")))

    linked = program.linked({"rows": 100, "lost": 70_000})

    assert linked == MOV_R0 + load64(1, 100) + load64(1, 70_000) + EXIT
    assert program.instructions == MOV_R0 + load64(1, 7) + load64(1, 9) + EXIT


def test_the_owner_becomes_a_plain_constant() -> None:
    code = MOV_R0 + load64(15, 0) + load64(1, 7) + load64(0, 15) + load64(15, 0) + EXIT
    program = Program(code, ((3, "rows"),), find_owner_loads(code))

    linked = program.linked({"rows": 100}, owner=3_000_000_000)

    owner = load64(0, 3_000_000_000 - (1 << 32))
    assert linked == MOV_R0 + owner + load64(1, 100) + load64(0, 15) + owner + EXIT


def test_a_program_for_an_owner_is_not_linked_without_one() -> None:
    program = Program(load64(15, 0) + EXIT, (), (0,))

    with pytest.raises(ValueError, match="no owner"):
        program.linked({})


def test_an_object_is_the_same_behind_json() -> None:
    every_byte = bytes(range(256))
    sent = BpfObject(
        programs={
            "event_0": Program(every_byte, ((1, "rows"), (12, "lost")), (3, 5)),
            "event_1": Program(EXIT, ()),
        },
        maps={"rows": MapSpec(4, 4, 4, 2, 0), "lost": MapSpec(2, 4, 8, 16, 1 << 10)},
    )

    received = BpfObject.from_json(json.loads(json.dumps(sent.to_json())))

    assert received == sent
