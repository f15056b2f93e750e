"""The text of a sample's data source, as perf writes it: PERF_SAMPLE_DATA_SRC.

Bits: union perf_mem_data_src of include/uapi/linux/perf_event.h; texts as by perf 6.1.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

# OP, LVL, SNP, LCK and TLB not available: what samples have that were taken without it.
NO_DATA_SRC: Final = 0x5080021

_OPERATIONS: Final = ("N/A", "LOAD", "STORE", "PFETCH", "EXEC")
# Of mem_lvl; hit and miss stand behind all others.
_LEVELS: Final = (
    "N/A",
    "",
    "",
    "L1",
    "LFB/MAB",
    "L2",
    "L3",
    "Local RAM",
    "Remote RAM (1 hop)",
    "Remote RAM (2 hops)",
    "Remote Cache (1 hop)",
    "Remote Cache (2 hops)",
    "I/O",
    "Uncached",
)
_LEVEL_NUMBERS: Final = {
    0x09: "CXL",
    0x0A: "I/O",
    0x0B: "Any cache",
    0x0C: "LFB/MAB",
    0x0D: "RAM",
    0x0E: "PMEM",
    0x0F: "N/A",
}
_HOPS: Final = ("", "core, same node", "node, same socket", "socket, same board", "board")
_SNOOPS: Final = ("N/A", "None", "Hit", "Miss", "HitM")
_MORE_SNOOPS: Final = ("Fwd", "Peer")
_TLBS: Final = ("N/A", "", "", "L1", "L2", "Walker", "Fault")
_LOCKS: Final = ("N/A", "Yes")
_BLOCKS: Final = (" Data", " Addr")
# Of bits that stand for access to a level or a TLB that hit or missed.
_HIT: Final = 1 << 1
_MISS: Final = 1 << 2
# perf's buffer holds so many characters.
_LONGEST: Final = 99


@lru_cache(maxsize=4096)
def decode(data_src: int) -> str:
    """Return what perf calls datasrc_decode."""
    bits = _Bits(data_src)
    op, level, snoop, lock, tlb = (bits.take(size) for size in (5, 14, 5, 2, 7))
    number, remote, more_snoop, block, hops = (bits.take(size) for size in (4, 1, 2, 3, 3))
    parts = {
        "OP": _first(_OPERATIONS, op),
        "LVL": _level(level, number, remote, hops) + _outcome(level),
        "SNP": " or ".join([*_all(_SNOOPS, snoop), *_all(_MORE_SNOOPS, more_snoop)]) or "N/A",
        "TLB": (" or ".join(_all(_TLBS, tlb)) or "N/A") + _outcome(tlb),
        "LCK": _first(_LOCKS, lock),
        "BLK": " N/A" if not block or block & 1 else "".join(_all(_BLOCKS, block >> 1)),
    }
    return "".join(f"|{name} {text}" for name, text in parts.items())[:_LONGEST]


class _Bits:
    def __init__(self, value: int) -> None:
        self._left = value

    def take(self, size: int) -> int:
        """Return the next `size` bits, lowest first."""
        found = self._left & ((1 << size) - 1)
        self._left >>= size
        return found


def _all(names: tuple[str, ...], bits: int) -> list[str]:
    return [name for place, name in enumerate(names) if name and bits >> place & 1]


def _first(names: tuple[str, ...], bits: int) -> str:
    return next(iter(_all(names, bits)), "No")


def _outcome(bits: int) -> str:
    return (" hit" if bits & _HIT else "") + (" miss" if bits & _MISS else "")


def _level(bits: int, number: int, remote: int, hops: int) -> str:
    text = "Remote " if remote else ""
    names = _all(_LEVELS, bits)
    if hops:
        # perf knows no more than these.
        text += f"{_HOPS[hops] if hops < len(_HOPS) else '(null)'} "
        names = []
    if number:
        names.append(_LEVEL_NUMBERS.get(number, f"L{number}"))
    return text + " or ".join(names) or "N/A"
