"""Kinds of branches, as branch_type_table tells them: flags of samples and what they mean.

The flags are PERF_IP_FLAG_* (tools/perf/util/event.h).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

_BRANCH: Final = 1 << 0
_CALL: Final = 1 << 1
_RETURN: Final = 1 << 2
_CONDITIONAL: Final = 1 << 3
_SYSCALL: Final = 1 << 4
_ASYNC: Final = 1 << 5
_INTERRUPT: Final = 1 << 6
_TX_ABORT: Final = 1 << 7
_TRACE_BEGIN: Final = 1 << 8
_TRACE_END: Final = 1 << 9
_VM_ENTRY: Final = 1 << 11
_VM_EXIT: Final = 1 << 12

_TYPES: Final = (
    (0, "no branch"),
    (_BRANCH | _CALL, "call"),
    (_BRANCH | _RETURN, "return"),
    (_BRANCH | _CONDITIONAL, "conditional jump"),
    (_BRANCH, "unconditional jump"),
    (_BRANCH | _CALL | _INTERRUPT, "software interrupt"),
    (_BRANCH | _RETURN | _INTERRUPT, "return from interrupt"),
    (_BRANCH | _CALL | _SYSCALL, "system call"),
    (_BRANCH | _RETURN | _SYSCALL, "return from system call"),
    (_BRANCH | _ASYNC, "asynchronous branch"),
    (_BRANCH | _CALL | _ASYNC | _INTERRUPT, "hardware interrupt"),
    (_BRANCH | _TX_ABORT, "transaction abort"),
    (_BRANCH | _TRACE_BEGIN, "trace begin"),
    (_BRANCH | _TRACE_END, "trace end"),
    (_BRANCH | _CALL | _VM_ENTRY, "vm entry"),
    (_BRANCH | _CALL | _VM_EXIT, "vm exit"),
)


def branch_types() -> Iterator[tuple[int, str]]:
    """Yield (flags, name): every kind, then how a trace may begin and end with it."""
    yield from _TYPES
    for flags, name in _TYPES:
        if flags == _BRANCH or flags & (_TRACE_BEGIN | _TRACE_END):
            continue
        yield flags | _TRACE_BEGIN, f"trace begin / {name}"
        yield flags | _TRACE_END, f"{name} / trace end"
