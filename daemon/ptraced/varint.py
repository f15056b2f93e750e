"""Unsigned numbers in protobuf's base 128 encoding."""

from __future__ import annotations


def varint(value: int) -> bytes:
    """A number of up to 64 bits as protobuf writes it."""
    if value < 0x80:
        return bytes((value,))
    digits = bytearray()
    while value > 0x7F:
        digits.append(value & 0x7F | 0x80)
        value >>= 7
    digits.append(value)
    return bytes(digits)
