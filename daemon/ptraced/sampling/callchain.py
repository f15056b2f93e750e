"""Call chains in samples: kernel's and user's addresses in one list, with marks between them."""

from __future__ import annotations

import struct

# enum perf_callchain_context in include/uapi/linux/perf_event.h.
_KERNEL = struct.pack("<q", -128)
_USER = struct.pack("<q", -512)
_CONTEXT_MAX = (1 << 64) - 4095
# Every mark has this inside; few addresses have.
_MARK_LIKE = b"\xff" * 6


def split_chain(chain: bytes) -> tuple[bytes, bytes]:
    """The kernel's and the user's addresses of a chain, leaf first, 8 bytes each.

    Addresses of other contexts (hypervisor, guests) are left out: nobody here knows them.
    """
    kernel, user = _halves(chain)
    if _MARK_LIKE in kernel or _MARK_LIKE in user:
        return _sorted_out(chain)
    return kernel, user


def _halves(chain: bytes) -> tuple[bytes, bytes]:
    """The parts of a chain as nearly all are: the kernel's, the user's, or both in this order."""
    if chain.startswith(_USER):
        return b"", chain[8:]
    if not chain.startswith(_KERNEL):
        return b"", chain
    at = chain.find(_USER)
    while at > 0 and at % 8:
        at = chain.find(_USER, at + 1)
    return (chain[8:], b"") if at < 0 else (chain[8:at], chain[at + 8 :])


def _sorted_out(chain: bytes) -> tuple[bytes, bytes]:
    parts: dict[int, list[int]] = {}
    # Addresses before any mark are the user's, as in perf script.
    own = parts.setdefault(-512, [])
    for (address,) in struct.iter_unpack("<Q", chain):
        if address >= _CONTEXT_MAX:
            own = parts.setdefault(address - (1 << 64), [])
        else:
            own.append(address)
    kernel, user = parts.get(-128, []), parts[-512]
    return struct.pack(f"<{len(kernel)}Q", *kernel), struct.pack(f"<{len(user)}Q", *user)
