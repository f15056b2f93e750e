"""The text of sampled registers, as perf writes it: iregs and uregs.

Names go by a register's bit in attr.sample_regs_*, see arch/*/include/uapi/asm/perf_regs.h.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

_X86: Final = [
    *("AX", "BX", "CX", "DX", "SI", "DI", "BP", "SP", "IP", "FLAGS"),
    *("CS", "SS", "DS", "ES", "FS", "GS"),
    *(f"R{number}" for number in range(8, 16)),
    *([""] * 8),
    # Each takes two bits; only the first one is used.
    *(name for number in range(16) for name in (f"XMM{number}", "")),
]
_S390: Final = [
    *(f"R{number}" for number in range(16)),
    *(f"FP{number}" for number in range(16)),
    *("MASK", "PC"),
]
# By the machine's name as uname(2) gives it. perf knows riscv's, but not that riscv64 is one.
_NAMES: Final[dict[str, Sequence[str]]] = {
    "x86_64": _X86,
    "i386": _X86,
    "i686": _X86,
    "aarch64": [*(f"x{number}" for number in range(30)), "lr", "sp", "pc", *([""] * 13), "vg"],
    "arm": [*(f"r{number}" for number in range(11)), "fp", "ip", "sp", "lr", "pc"],
    "s390x": _S390,
}
# Characters that perf has room for, for each register of sample_regs_intr.
_ROOM: Final = 28


def registers_text(
    arch: str, mask: int, sampled: tuple[int, tuple[int, ...]] | None, intr_mask: int
) -> str:
    """Return "   AX:0x0    BX:0x2a " of (abi, values by bit of `mask`); "" where none are.

    perf measures its room by `intr_mask`, for both kinds of registers: what goes beyond that
    it cuts off.
    """
    room = intr_mask.bit_count() * _ROOM
    if sampled is None or not sampled[0] or not room:
        return ""
    names = _names(arch)
    bits = (bit for bit in range(64) if mask >> bit & 1)
    texts = (
        f"{(names[bit] if bit < len(names) else '') or 'unknown':>5}:{value:#x} "
        for bit, value in zip(bits, sampled[1], strict=False)
    )
    return "".join(texts)[: room - 1]


def _names(arch: str) -> Sequence[str]:
    return _NAMES.get("arm" if arch.startswith("arm") else arch, ())
