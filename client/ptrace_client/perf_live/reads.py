"""Which of its parameters a handler reads, found in its code.

What is not read need not be captured, sent, or computed. As in projection.py, whatever is not
plainly otherwise counts as read.
"""

from __future__ import annotations

import dis
import types
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ptrace_client.projection import FRAME_READERS


@dataclass(frozen=True)
class Parameters:
    """The positional parameters of a handler, those that it reads, and those that it sets."""

    names: tuple[str, ...]
    read: frozenset[str]
    set: frozenset[str]

    def reads(self, position: int) -> bool:
        """Whether the argument at a position is looked at; those of *args are."""
        return position >= len(self.names) or self.names[position] in self.read


def parameters(handler: Callable[..., Any]) -> Parameters | None:
    """Return what a handler does with its parameters; None where its code does not tell."""
    function = handler.__func__ if isinstance(handler, types.MethodType) else handler
    if not isinstance(function, types.FunctionType):
        return None
    code = function.__code__
    names = code.co_varnames[: code.co_argcount]
    if isinstance(handler, types.MethodType):
        names = names[1:]
    if _sees_frames(code):
        return Parameters(names, frozenset(names), frozenset(names))
    # Inner functions may read and set them.
    read, written = set(code.co_cellvars), set(code.co_cellvars)
    for step in dis.get_instructions(code):
        if "_FAST" not in step.opname:
            continue
        # Python 3.13 and later have instructions for two variables at once.
        touched = step.argval if isinstance(step.argval, tuple) else (step.argval,)
        if "STORE" not in step.opname or "LOAD" in step.opname:
            # What is deleted has to be there, too.
            read.update(touched)
        if "STORE" in step.opname or "DELETE" in step.opname:
            written.update(touched)
    return Parameters(
        names, frozenset(read).intersection(names), frozenset(written).intersection(names)
    )


def _sees_frames(code: types.CodeType) -> bool:
    if not FRAME_READERS.isdisjoint(code.co_names):
        return True
    return any(isinstance(it, types.CodeType) and _sees_frames(it) for it in code.co_consts)
