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

    The user's stand last, and are what the program has put on its stack: a mark among them is an
    address like others. Else it could have any address named as the kernel's. Addresses of other
    contexts (hypervisor, guests) are left out: nobody here knows them.
    """
    at = chain.find(_USER)
    while at > 0 and at % 8:
        at = chain.find(_USER, at + 1)
    before, user = (chain, b"") if at < 0 else (chain[:at], chain[at + 8 :])
    if not before or (before.startswith(_KERNEL) and _MARK_LIKE not in before[8:]):
        return before[8:], user
    kernel, unmarked = _sorted_out(before)
    # Without any mark they are the user's, as in perf script.
    return kernel, unmarked if at < 0 else user


def _sorted_out(chain: bytes) -> tuple[bytes, bytes]:
    """The addresses behind the kernel's marks, and those before any mark."""
    parts: dict[int, list[int]] = {}
    unmarked: list[int] = []
    own = unmarked
    for (address,) in struct.iter_unpack("<Q", chain):
        if address >= _CONTEXT_MAX:
            own = parts.setdefault(address - (1 << 64), [])
        else:
            own.append(address)
    kernel = parts.get(-128, [])
    return struct.pack(f"<{len(kernel)}Q", *kernel), struct.pack(f"<{len(unmarked)}Q", *unmarked)
