"""How a print format writes values that are not plain numbers.

Every function writes one argument as the kernel does (lib/vsprintf.c,
kernel/trace/trace_output.c), or as perf does where the kernel's way needs the
kernel: pointers are shown as numbers, symbols as addresses.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache
from ipaddress import IPv6Address

from ptrace_proto import ptrace_pb2 as pb

U64 = (1 << 64) - 1

# A width or precision taken from a record may be anything; no field is wider than this.
_WIDEST = 4096


def text(value: bytes) -> str:
    """Decode a C string up to its NUL; bytes that are not UTF-8 survive as surrogates."""
    return value.partition(b"\0")[0].decode("utf-8", "surrogateescape")


def data(value: str | bytes) -> bytes:
    """Return the bytes of a field, whichever way it was decoded."""
    return value if isinstance(value, bytes) else value.encode("utf-8", "surrogateescape")


def cut(value: str, length: int) -> str:
    """Cut a string to a precision in bytes, as `%.*s` does; negative means whole."""
    if length < 0:
        return value
    if value.isascii():
        return value[:length]
    return data(value)[:length].decode("utf-8", "surrogateescape")


def width(value: int) -> int:
    """Limit a width that a record gives, `%*d`."""
    return max(-_WIDEST, min(value, _WIDEST))


def character(value: int) -> str:
    """Write `%c`; NUL ends the string in C, so it leaves nothing here."""
    return bytes((value & 255,)).strip(b"\0").decode("utf-8", "surrogateescape")


def alternate(specification: str, value: int) -> str:
    """Write `%#x` and `%#o` with C's prefixes: none before zero, a plain 0 for octal."""
    plain = specification.replace("#", "") % value
    if not value or not specification.endswith("o"):
        return specification % value if value else plain
    digits = plain.strip()
    if digits.startswith("0"):
        return plain
    pad = str.ljust if "-" in specification else str.rjust
    return pad(f"0{digits}", len(plain))


def pointer(value: int) -> str:
    """Write `%p` as perf does: the address, not the kernel's hash of it."""
    return hex(value) if value else "(nil)"


def divide(left: int, right: int) -> int:
    """Divide as C does, towards zero; what C leaves undefined gives 0."""
    if not right:
        return 0
    quotient = abs(left) // abs(right)
    return quotient if (left < 0) == (right < 0) else -quotient


def remainder(left: int, right: int) -> int:
    """Return C's `left % right`, which has the sign of `left`; 0 for a zero `right`."""
    return left - divide(left, right) * right if right else 0


def element(value: str | bytes, index: int, size: int, signed: bool) -> int:
    """Return one element of an array; 0 beyond its end."""
    if index < 0:
        return 0
    return int.from_bytes(data(value)[index * size : (index + 1) * size], "little", signed=signed)


def flag_names(names: pb.NamedValues) -> Callable[[int], str]:
    """Return the writer of a `__print_flags` table."""
    # An empty mask says nothing about a value (a flag that this kernel was built without).
    masks = [(entry.value, entry.name) for entry in names.values if entry.value]
    delimiter = names.delimiter

    @lru_cache(maxsize=1024)
    def write(value: int) -> str:
        value &= U64
        found = []
        for mask, name in masks:
            if value & mask == mask:
                found.append(name)
                value &= ~mask
        if value:
            found.append(hex(value))
        return delimiter.join(found)

    return write


def symbol_names(names: pb.NamedValues) -> Callable[[int], str]:
    """Return the writer of a `__print_symbolic` table."""
    table: dict[int, str] = {}
    for entry in names.values:
        table.setdefault(entry.value, entry.name)

    def write(value: int) -> str:
        value &= U64
        return table.get(value) or hex(value)

    return write


def hex_bytes(value: str | bytes, length: int, separator: str) -> str:
    """Write `__print_hex`, `__print_hex_str` and `%*ph`."""
    chosen = data(value)[: max(length, 0)]
    return chosen.hex(separator) if separator else chosen.hex()


def array(value: bytes, count: int, size: int) -> str:
    """Write `__print_array`: {0x1,0x2}."""
    if size not in (1, 2, 4, 8):
        return f"BAD SIZE:{size} {hex_bytes(value, len(value), ' ')}"
    value = value[: max(count, 0) * size]
    numbers = (
        int.from_bytes(value[place : place + size], "little")
        for place in range(0, len(value), size)
    )
    return "{" + ",".join(map(hex, numbers)) + "}"


def dynamic_array(value: bytes, size: int) -> str:
    """Write `__print_dynamic_array`: all elements there are."""
    return array(value, len(value), size)


def hex_dump(
    prefix: str, kind: int, row: int, group: int, value: bytes, length: int, ascii_: int
) -> str:
    """Write `__print_hex_dump` (print_hex_dump() in lib/hexdump.c), a line per row."""
    row = row if row in (16, 32) else 16
    group = group if group in (1, 2, 4, 8) else 1
    value = value[: max(length, 0)]
    lines = []
    for place in range(0, len(value), row):
        part = value[place : place + row]
        line = " ".join(part[at : at + group][::-1].hex() for at in range(0, len(part), group))
        if ascii_:
            printable = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in part)
            line = line.ljust(row * 2 + row // group + 1) + printable
        line = prefix + (f"{place:08x}: " if kind == 2 else "") + line
        lines.append(line)
    return "\n".join(lines)


def bitmask(value: bytes) -> str:
    """Write a bit mask as `%*pb` does: hex in groups of 32 bits, highest first."""
    words = [value[place : place + 4][::-1].hex() for place in range(0, len(value), 4)]
    return ",".join(reversed(words))


def bit_list(value: bytes, bits: int) -> str:
    """Write the bits that are set as `%*pbl` does: 0-3,8."""
    number = int.from_bytes(value, "little") & (1 << min(max(bits, 0), len(value) * 8)) - 1
    ranges = []
    first = 0
    while number:
        skip = (number & -number).bit_length() - 1
        first, number = first + skip, number >> skip
        run = ((number + 1) & ~number).bit_length() - 1
        ranges.append(f"{first}-{first + run - 1}" if run > 1 else str(first))
        first, number = first + run, number >> run
    return ",".join(ranges)


def mac_address(value: bytes, kind: str) -> str:
    """Write `%pM` and its variants."""
    separator = "" if kind.startswith("m") else "-" if "F" in kind else ":"
    return hex_bytes(value[5::-1] if "R" in kind else value, 6, separator)


def uuid(value: bytes, kind: str) -> str:
    """Write `%pU` and its variants; l and L take the first three groups as little-endian."""
    if kind[1:2] in ("l", "L"):
        value = value[3::-1] + value[5:3:-1] + value[7:5:-1] + value[8:]
    digits = value[:16].hex()
    joined = "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))
    return joined.upper() if kind[1:2] in ("B", "L") else joined


def _ipv4(value: bytes, kind: str) -> str:
    octets: Iterable[int] = value[3::-1] if kind[2:3] in ("h", "l") else value[:4]
    return ".".join(f"{octet:03d}" if kind.startswith("i") else str(octet) for octet in octets)


def _ipv6(value: bytes, kind: str) -> str:
    value = value[:16].ljust(16, b"\0")
    if kind.endswith("c") and value.startswith(bytes(10) + b"\xff\xff"):
        return "::ffff:" + _ipv4(value[12:], "I4")
    if kind.endswith("c"):
        return IPv6Address(value).compressed
    return value.hex(":", 2) if kind.startswith("I") else value.hex()


def ip_address(value: bytes, kind: str) -> str:
    """Write `%pI4`, `%pI6` and, from a struct sockaddr, `%pIS`, with their variants."""
    if kind[1:2] == "4":
        return _ipv4(value, kind)
    if kind[1:2] == "6":
        return _ipv6(value, kind)
    family = int.from_bytes(value[:2], "little")
    port = int.from_bytes(value[2:4], "big")
    with_port = "p" in kind[2:]
    if family == 2:
        address = _ipv4(value[4:8], "I4")
        return f"{address}:{port}" if with_port else address
    if family == 10:
        address = _ipv6(value[8:24], "I6c" if "c" in kind[2:] else "I6")
        return f"[{address}]:{port}" if with_port else address
    return ""
