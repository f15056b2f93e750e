"""Call chains to their kernel's and user's parts."""

from __future__ import annotations

import pytest
from samplerecords import u64

from ptraced.sampling.callchain import split_chain

HV, KERNEL, USER, GUEST, GUEST_KERNEL, GUEST_USER = (
    (1 << 64) + context for context in (-32, -128, -512, -2048, -2176, -2560)
)
K1, K2 = 0xFFFF_FFFF_8100_0010, 0xFFFF_FFFF_8100_0020
U1, U2 = 0x55AA_0000_1000, 0x7FFF_FFFF_F000


@pytest.mark.parametrize(
    ("chain", "kernel", "user"),
    [
        ([], [], []),
        ([KERNEL, K1, K2, USER, U1, U2], [K1, K2], [U1, U2]),
        ([KERNEL, K1], [K1], []),
        ([USER, U1, U2], [], [U1, U2]),
        ([KERNEL, USER], [], []),
        # Without a mark they are the user's, as for perf script.
        ([U1, U2], [], [U1, U2]),
        # What others have on their stacks is not taken for ours.
        ([HV, 0x99, KERNEL, K1, USER, U1], [K1], [U1]),
        ([GUEST, GUEST_KERNEL, 0x98, GUEST_USER, 0x97], [], []),
        ([KERNEL, K1, GUEST_KERNEL, 0x98, USER, U1], [K1], [U1]),
        # Programs put on their stacks what they like.
        ([KERNEL, K1, USER, U1, KERNEL, K2], [K1], [U1, KERNEL, K2]),
        ([USER, KERNEL, K2], [], [KERNEL, K2]),
        ([USER, U1, USER, KERNEL, K2], [], [U1, USER, KERNEL, K2]),
        ([KERNEL, USER, GUEST, U1], [], [GUEST, U1]),
        # The bytes of a mark across two addresses are none.
        (
            [KERNEL, 0xFE00 << 48, 0xFFFF_FFFF_FFFF, USER, U1],
            [0xFE00 << 48, 0xFFFF_FFFF_FFFF],
            [U1],
        ),
    ],
)
def test_parts(chain: list[int], kernel: list[int], user: list[int]) -> None:
    assert split_chain(u64(*chain)) == (u64(*kernel), u64(*user))
