"""What a sample has: the rows of the sample_type table, by PERF_SAMPLE_* bit.

The bits, their order in a record and what they hold: perf_event_open(2), and
perf_output_sample() in kernel/events/core.c, which writes them.
"""

from __future__ import annotations

from dataclasses import dataclass

from ptrace_proto import ptrace_pb2 as pb

# enum perf_event_sample_format in include/uapi/linux/perf_event.h.
IP, TID, TIME, ADDR, READ, CALLCHAIN, ID, CPU = (1 << bit for bit in range(8))
PERIOD, STREAM_ID, RAW, BRANCH_STACK, REGS_USER, STACK_USER, WEIGHT, DATA_SRC = (
    1 << bit for bit in range(8, 16)
)
IDENTIFIER, TRANSACTION, REGS_INTR, PHYS_ADDR, AUX, CGROUP, DATA_PAGE_SIZE, CODE_PAGE_SIZE = (
    1 << bit for bit in range(16, 24)
)
WEIGHT_STRUCT = 1 << 24

# Of pb.FieldKind: data behind the fixed part of a row.
DYNAMIC = frozenset(
    (pb.FIELD_KIND_DYNAMIC_BYTES, pb.FIELD_KIND_READ, pb.FIELD_KIND_REGS),
)

_U64 = pb.FIELD_KIND_UNSIGNED
_ADDRESS = pb.FIELD_KIND_POINTER
_BYTES = pb.FIELD_KIND_DYNAMIC_BYTES


@dataclass(frozen=True, slots=True)
class Member:
    """A member of samples.

    `bit` is what the kernel is asked for. `ctype`, `size` (bytes in a row) and `element` (bytes
    of an array's elements) are how it is declared. Those `on_request` are captured only where
    they are named: they are costly, or few events have them. `column` carries it where another
    column has the same value anyway, "" where every batch has it.
    """

    name: str
    bit: int
    kind: pb.FieldKind
    ctype: str
    size: int
    on_request: bool = True
    column: str | None = None
    element: int = 0


# In the order of the specification's table, then what it leaves out.
MEMBERS = (
    Member("ip", IP, _ADDRESS, "u64", 8, False),
    Member("pid", TID, pb.FIELD_KIND_SIGNED, "s32", 4, False, "_pid"),
    Member("tid", TID, pb.FIELD_KIND_SIGNED, "s32", 4, False, "_tid"),
    Member("time", TIME, _U64, "u64", 8, False, "_time"),
    Member("addr", ADDR, _ADDRESS, "u64", 8, False),
    Member("id", ID, _U64, "u64", 8, False),
    Member("cpu", CPU, _U64, "u32", 4, False, ""),
    Member("period", PERIOD, _U64, "u64", 8, False),
    Member("read", READ, pb.FIELD_KIND_READ, "struct read_format", 8, False),
    Member("raw", RAW, _BYTES, "char[]", 8, element=1),
    Member("regs_user", REGS_USER, pb.FIELD_KIND_REGS, "u64[]", 8, element=8),
    Member("regs_intr", REGS_INTR, pb.FIELD_KIND_REGS, "u64[]", 8, element=8),
    Member("branch_stack", BRANCH_STACK, _BYTES, "struct perf_branch_entry[]", 8, element=24),
    Member("stack_user", STACK_USER, _BYTES, "char[]", 8, element=1),
    Member("weight", WEIGHT, _U64, "u64", 8),
    Member("data_src", DATA_SRC, _U64, "u64", 8),
    Member("phys_addr", PHYS_ADDR, _ADDRESS, "u64", 8),
    Member("cgroup", CGROUP, _U64, "u64", 8),
    Member("aux", AUX, _BYTES, "char[]", 8, element=1),
    Member("identifier", IDENTIFIER, _U64, "u64", 8),
    Member("stream_id", STREAM_ID, _U64, "u64", 8),
    Member("transaction", TRANSACTION, _U64, "u64", 8),
    Member("data_page_size", DATA_PAGE_SIZE, _U64, "u64", 8),
    Member("code_page_size", CODE_PAGE_SIZE, _U64, "u64", 8),
    # The other parts of a weight (var2_w and var3_w): of kernel 5.12 and later.
    Member("ins_lat", WEIGHT_STRUCT, _U64, "u16", 2),
    Member("p_stage_cyc", WEIGHT_STRUCT, _U64, "u16", 2),
)
BY_NAME = {member.name: member for member in MEMBERS}
# Present in samples of events that have stacks.
CALLCHAIN_COLUMN = "callchain"
