"""Counter readings and registers, from the bytes that perf_event_open(2) describes."""

from __future__ import annotations

import struct
from typing import Any

import pytest

from ptrace_client.sample_values import counter_reading, registers

ENABLED, RUNNING, ID, GROUP, LOST = 1, 2, 4, 8, 16


def words(*values: int) -> bytes:
    return struct.pack(f"<{len(values)}Q", *values)


@pytest.mark.parametrize(
    ("read_format", "data", "expected"),
    [
        (0, words(7), {"value": 7}),
        (ID, words(7, 3), {"value": 7, "id": 3}),
        (ENABLED, words(7, 100), {"value": 7, "time_enabled": 100}),
        (LOST, words(7, 2), {"value": 7, "lost": 2}),
        (
            ENABLED | RUNNING | ID | LOST,
            words(2**64 - 1, 100, 90, 3, 2),
            {"value": 2**64 - 1, "time_enabled": 100, "time_running": 90, "id": 3, "lost": 2},
        ),
        (GROUP, words(2, 7, 8), {"nr": 2, "cntr": [{"value": 7}, {"value": 8}]}),
        (
            GROUP | ENABLED | RUNNING | ID | LOST,
            words(2, 100, 90, 7, 3, 0, 8, 4, 1),
            {
                "nr": 2,
                "time_enabled": 100,
                "time_running": 90,
                "cntr": [{"value": 7, "id": 3, "lost": 0}, {"value": 8, "id": 4, "lost": 1}],
            },
        ),
        (GROUP | ID, words(1, 7, 3), {"nr": 1, "cntr": [{"value": 7, "id": 3}]}),
        (GROUP, words(0), {"nr": 0, "cntr": []}),
        # Not what a kernel writes: no exception, and nothing made up.
        (ENABLED, words(7), {"value": 7}),
        (0, b"", {}),
        (GROUP, b"", {"cntr": []}),
        (0, words(7) + b"\1", {"value": 7}),
        (GROUP, words(2**60, 7), {"nr": 2**60, "cntr": [{"value": 7}, {}]}),
    ],
)
def test_counter_reading(read_format: int, data: bytes, expected: dict[str, Any]) -> None:
    reading = counter_reading(data, read_format)
    assert reading == expected
    assert list(reading) == list(expected)


@pytest.mark.parametrize(
    ("names", "data", "expected"),
    [
        (["ax", "ip"], words(2, 5, 0x401000), {"abi": 2, "ax": 5, "ip": 0x401000}),
        (["ax", "ip"], words(0), {"abi": 0}),
        (["ax"], b"", {}),
        (["x0", "sp", "pc"], words(2, 1, 2, 3), {"abi": 2, "x0": 1, "sp": 2, "pc": 3}),
    ],
)
def test_registers(names: list[str], data: bytes, expected: dict[str, int]) -> None:
    assert registers(data, names) == expected
