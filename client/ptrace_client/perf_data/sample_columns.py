"""The columns of sampled events: of which members of a Sample they are made, and how."""

from __future__ import annotations

from collections.abc import Callable
from struct import Struct
from typing import Final

from ptrace_client.perf_data.attr import ReadFormat, SampleType
from ptrace_client.perf_data.model import BranchEntry, Sample
from ptrace_formats.registers import NO_REGISTERS

_NO_ID: Final = (1 << 64) - 1


def _reading(sample: Sample, read_format: int) -> bytes:
    """Return PERF_SAMPLE_READ as read(2) gives it, little-endian."""
    kinds = read_format
    group = bool(kinds & ReadFormat.GROUP)
    words = [len(sample.values)] if group else [value.value for value in sample.values]
    if kinds & ReadFormat.TOTAL_TIME_ENABLED:
        words.append(sample.time_enabled)
    if kinds & ReadFormat.TOTAL_TIME_RUNNING:
        words.append(sample.time_running)
    for value in sample.values:
        if group:
            words.append(value.value)
        if kinds & ReadFormat.ID:
            words.append(value.id)
        if kinds & ReadFormat.LOST:
            words.append(value.lost or 0)
    return Struct(f"<{len(words)}Q").pack(*words)


def _registers(registers: tuple[int, tuple[int, ...]] | None) -> bytes:
    if registers is None:
        return NO_REGISTERS
    abi, values = registers
    return Struct(f"<{len(values) + 1}Q").pack(abi, *values)


def _branches(branches: tuple[BranchEntry, ...]) -> bytes:
    words = [word for branch in branches for word in branch]
    return Struct(f"<{len(words)}Q").pack(*words)


# Columns whose member of Sample has another name, and what they are without it.
MEMBERS: Final = {
    "id": ("id", str(_NO_ID)),
    "identifier": ("id", str(_NO_ID)),
    "stream_id": ("stream_id", str(_NO_ID)),
}
# By member of Sample, what a sample_type must have for it.
BITS: Final[dict[str, int]] = {
    "weight": SampleType.WEIGHT | SampleType.WEIGHT_STRUCT,
    "ins_lat": SampleType.WEIGHT_STRUCT,
    # Not in Sample.
    "p_stage_cyc": 0,
    "data_src": SampleType.DATA_SRC,
    "phys_addr": SampleType.PHYS_ADDR,
    "cgroup": SampleType.CGROUP,
    "transaction": SampleType.TRANSACTION,
    "data_page_size": SampleType.DATA_PAGE_SIZE,
    "code_page_size": SampleType.CODE_PAGE_SIZE,
}
# By column: how its bytes are made, of which member, and what there is without.
DYNAMIC_MEMBERS: Final[dict[str, tuple[Callable[..., bytes], str, int, bytes]]] = {
    "read": (_reading, "values", SampleType.READ, bytes(8)),
    "raw": (bytes, "raw", SampleType.RAW, b""),
    "regs_user": (_registers, "user_regs", SampleType.REGS_USER, NO_REGISTERS),
    "regs_intr": (_registers, "intr_regs", SampleType.REGS_INTR, NO_REGISTERS),
    "branch_stack": (_branches, "branches", SampleType.BRANCH_STACK, b""),
    "stack_user": (bytes, "user_stack", SampleType.STACK_USER, b""),
    "aux": (bytes, "aux", SampleType.AUX, b""),
}
