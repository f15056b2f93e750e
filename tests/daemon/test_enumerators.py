"""Enumerators are read from BTF, those of two minds left out."""

from __future__ import annotations

import struct

import pytest

from ptraced import enumerators


def btf(*types: bytes, names: tuple[str, ...]) -> bytes:
    """A blob of BTF; string number n starts at 1 + 2n, as all names have one letter."""
    strings = b"\0" + b"".join(name.encode() + b"\0" for name in names)
    body = b"".join(types)
    header = struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(body), len(body), len(strings))
    return header + body + strings


def enum(*members: tuple[int, int], kind: int = 6, signed: bool = False) -> bytes:
    packed = struct.pack("<III", 0, signed << 31 | kind << 24 | len(members), 4)
    layout = ("<Ii" if signed else "<II") if kind == 6 else ("<Iq" if signed else "<IQ")
    return packed + b"".join(struct.pack(layout, 1 + 2 * name, value) for name, value in members)


def test_enumerators_of_every_width_and_sign() -> None:
    integer = struct.pack("<IIII", 0, 1 << 24, 4, 32)
    structure = struct.pack("<IIIIII", 0, 4 << 24 | 1, 4, 1, 1, 0)
    data = btf(
        integer,
        enum((0, 1 << 31)),
        structure,
        enum((1, -2), (2, 3), signed=True),
        enum((3, 1 << 40), kind=19),
        enum((4, -(1 << 40)), kind=19, signed=True),
        names=("a", "b", "c", "d", "e"),
    )
    assert enumerators.enumerators(data) == {
        "a": 1 << 31,
        "b": -2,
        "c": 3,
        "d": 1 << 40,
        "e": -(1 << 40),
    }


def test_name_with_two_values_is_left_out() -> None:
    data = btf(enum((0, 1), (1, 2)), enum((0, 3)), enum((1, 2)), names=("a", "b"))
    assert enumerators.enumerators(data) == {"b": 2}


@pytest.mark.parametrize("data", [b"", b"\xeb\x9f" + bytes(22), bytes(24)])
def test_other_data_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"^not BTF of this machine's byte order$"):
        enumerators.enumerators(data)


def test_kernel_has_the_enumerators_that_its_formats_name() -> None:
    kernel = enumerators.of_kernel()
    assert (kernel["TCP_ESTABLISHED"], kernel["TCP_LISTEN"]) == (1, 10)
