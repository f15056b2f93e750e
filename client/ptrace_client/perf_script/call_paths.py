"""Paths of calls as a tree, and returns from calls, for exports to databases."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from ptrace_client.perf_script.db_threads import Comm, Thread

# Flags of call_return_table's rows (tools/perf/util/thread-stack.h).
_NO_CALL = 1 << 0
_NO_RETURN = 1 << 1


@dataclass(eq=False, slots=True)
class DbSymbol:
    """A symbol with its row's id."""

    db_id: int


@dataclass(eq=False, slots=True)
class CallPath:
    """A function in the place where others called it; the tree's root has no parent.

    `ip` is 0 where there is a symbol.
    """

    parent: CallPath | None = None
    symbol: DbSymbol | None = None
    ip: int = 0
    db_id: int = 0
    _children: dict[tuple[DbSymbol | None, int], CallPath] = field(default_factory=dict)

    def child(self, symbol: DbSymbol | None, ip: int) -> CallPath:
        """Return the path one call further."""
        key = (symbol, 0 if symbol else ip)
        known = self._children.get(key)
        if known is None:
            known = self._children[key] = CallPath(self, *key)
        return known


@dataclass(eq=False, slots=True)
class CallReturn:
    """A call and its return; times in ns, `call_ref` and `return_ref` are rows of samples."""

    thread: Thread
    comm: Comm | None
    path: CallPath
    call_time: int
    return_time: int
    branch_count: int
    call_ref: int
    return_ref: int
    flags: int


@dataclass(eq=False, slots=True)
class _Stack:
    """What perf takes for a thread's calls where samples tell no branches: one entry."""

    comm: Comm | None
    bottom: CallPath | None = None
    time: int = 0
    ref: int = 0
    branches_before: int = 0
    branch_count: int = 0
    last_time: int = 0


class CallReturns:
    """The calls of all threads, as perf makes them from samples that have an address.

    perf follows branches that its decoders of hardware traces tell. Without any of these, as
    in all samples here, a thread's first one stands for a call that never returns.
    """

    def __init__(self, root: CallPath, export: Callable[[CallReturn], None]) -> None:
        self._root = root
        self._export = export
        self._stacks: dict[Thread, _Stack] = {}

    def sample(
        self,
        thread: Thread,
        comm: Comm | None,
        place: tuple[int, DbSymbol | None],
        time: int,
        ref: int,
    ) -> None:
        """Take in a sample: `place` is its ip, or addr without one; `ref` its row's id."""
        stack = self._stacks.get(thread)
        if stack is None:
            stack = self._stacks[thread] = _Stack(comm)
        if stack.comm is not comm and thread.pid == thread.tid:
            self._flush(thread, stack)
            stack.comm = comm
        address, symbol = place
        if stack.bottom is None and address:
            stack.bottom = self._root.child(symbol, address)
            stack.time, stack.ref, stack.branches_before = time, ref, stack.branch_count
        stack.branch_count += 1
        stack.last_time = time

    def finish(self, threads: list[Thread]) -> None:
        """Export what is left, in the order of `threads`."""
        for thread in threads:
            if thread in self._stacks:
                self._flush(thread, self._stacks[thread])

    def _flush(self, thread: Thread, stack: _Stack) -> None:
        if stack.bottom is None:
            return
        self._export(
            CallReturn(
                thread,
                stack.comm,
                stack.bottom,
                call_time=stack.time,
                return_time=stack.last_time,
                branch_count=stack.branch_count - stack.branches_before,
                call_ref=stack.ref,
                return_ref=0,
                flags=_NO_CALL | _NO_RETURN,
            )
        )
        stack.bottom = None
