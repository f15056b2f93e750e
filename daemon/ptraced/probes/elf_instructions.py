"""Where instructions start: a breakpoint inside of one would change what the program does."""

from __future__ import annotations

from ptraced.probes.elf_image import Image

# Further into a function nobody looks: decoding a MiB takes a second.
_CODE_MAX = 1 << 20
_ARM_BYTES = 4


def around(image: Image, start: int, address: int) -> tuple[int, int] | None:
    """Start and end of the instruction that has the byte at `address`.

    It is found by decoding from `start` on, where a function starts. None where that does not
    lead there: data lies in between, or an unknown instruction.
    """
    if address - start >= _CODE_MAX:
        return None
    if image.machine == "aarch64":
        first = address - (address - start) % _ARM_BYTES
        return first, first + _ARM_BYTES
    # Only asked for places inside of functions, and loading it takes a while.
    import capstone

    decoder = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)
    # No instruction is longer than 15 bytes.
    code = image.code(start, address - start + 15)
    for at, size, _, _ in decoder.disasm_lite(code, start):
        if at <= address < at + size:
            return at, at + size
    return None
