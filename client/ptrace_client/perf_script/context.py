"""The module perf_trace_context, and the context that scripts hand back to its functions."""

from __future__ import annotations

import types
from typing import Final, TypeAlias

# (path of the source file, line), and with the line's text behind.
SourceLine: TypeAlias = tuple[str | None, int]
SourceCode: TypeAlias = tuple[str | None, int, str | None]

_FUNCTIONS: Final = (
    "common_pc",
    "common_flags",
    "common_lock_depth",
    "perf_sample_insn",
    "perf_set_itrace_options",
    "perf_sample_srcline",
    "perf_sample_srccode",
    "perf_config_get",
)


class ScriptContext:
    """What `context` and perf_script_context are; the methods answer for the event at hand.

    This one is of no event and no session. Its subclasses know more.
    """

    __slots__ = ()

    def __init_subclass__(cls) -> None:
        """Have scripts see the type that it is in perf."""
        cls.__name__ = "PyCapsule"

    def common_pc(self) -> int:
        """Return the event's common_preempt_count."""
        return 0

    def common_flags(self) -> int:
        """Return the event's common_flags: trace_flag_type of the kernel."""
        return 0

    def common_lock_depth(self) -> int:
        """Return the event's common_lock_depth, which today's kernels do not record."""
        return 0

    def insn(self) -> bytes | None:
        """Return the machine code of the sampled instruction, None where it is not known."""
        return None

    def srcline(self) -> SourceLine:
        """Return where the sampled instruction stands in its source; (None, 0) if not known."""
        return None, 0

    def srccode(self) -> SourceCode:
        """Return the same with the text of the line."""
        return None, 0, None

    def set_itrace_options(self, options: str) -> int:
        """Note how to decode hardware traces. Return -1: where there are none."""
        return -1


def create_module() -> types.ModuleType:
    """Return a new perf_trace_context, whose perf_script_context is None for now."""
    module = types.ModuleType("perf_trace_context", "What a perf script asks about an event.")
    vars(module).update({name: globals()[name] for name in _FUNCTIONS})
    vars(module).update(perf_script_context=None)
    return module


def common_pc(context: ScriptContext, /) -> int:
    """Return the preempt count of the event at hand."""
    return _checked(context).common_pc()


def common_flags(context: ScriptContext, /) -> int:
    """Return the flags of the event at hand, for trace_flag_str()."""
    return _checked(context).common_flags()


def common_lock_depth(context: ScriptContext, /) -> int:
    """Return the depth of the big kernel lock at the event at hand."""
    return _checked(context).common_lock_depth()


def perf_sample_insn(context: ScriptContext, /) -> bytes | None:
    """Return the machine code of the sampled instruction."""
    return _checked(context).insn()


def perf_set_itrace_options(context: ScriptContext, options: str | None = None, /) -> int:
    """Set perf's --itrace options. Return 0 on success, 1 if set before, -1 if there is no use."""
    found = _checked(context)
    if not isinstance(options, str):
        raise TypeError("bad argument type for built-in operation")
    return found.set_itrace_options(options)


def perf_sample_srcline(context: ScriptContext, /) -> SourceLine:
    """Return file and line of the sampled instruction's source."""
    return _checked(context).srcline()


def perf_sample_srccode(context: ScriptContext, /) -> SourceCode:
    """Return file, line and the line's text of the sampled instruction's source."""
    return _checked(context).srccode()


def perf_config_get(name: str, /) -> str | None:
    """Return what perf's configuration has for "section.key", None where it is not set."""
    if not isinstance(name, str):
        raise TypeError(f"argument 1 must be str, not {type(name).__name__}")
    from ptrace_client.perf_script.perf_config import setting

    return setting(name)


def _checked(context: object) -> ScriptContext:
    if not isinstance(context, ScriptContext):
        raise ValueError("PyCapsule_GetPointer called with invalid PyCapsule object")
    return context
