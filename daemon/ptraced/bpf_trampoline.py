"""Tries whether BPF programs can hang on function entry and exit (fentry, fexit)."""

from __future__ import annotations

import ctypes
import os
import struct

from ptraced import btf, syscalls

# include/uapi/linux/bpf.h
_PROG_LOAD = 5
_RAW_TRACEPOINT_OPEN = 17
_PROG_TYPE_TRACING = 26
_TRACE_FENTRY = 24
# Made for tests of trampolines: nothing else calls it (net/bpf/test_run.c).
_FUNCTION = "bpf_fentry_test1"
_RETURN_0 = struct.pack("<BBhi", 0xB7, 0, 0, 0) + struct.pack("<BBhi", 0x95, 0, 0, 0)


def try_trampoline() -> None:
    """Attach a program to a function and take it off again.

    Raises OSError with the kernel's reason, FileNotFoundError where it does not have the
    function, Unavailable without BTF.
    """
    function = btf.function_id(_FUNCTION)
    if function is None:
        raise FileNotFoundError(f"no {_FUNCTION} in the kernel's BTF")
    program = _load(function)
    try:
        attr = ctypes.create_string_buffer(struct.pack("<QI", 0, program), 16)
        os.close(syscalls.bpf(_RAW_TRACEPOINT_OPEN, attr))
    finally:
        os.close(program)


def _load(function: int) -> int:
    code = ctypes.create_string_buffer(_RETURN_0, len(_RETURN_0))
    licence = ctypes.create_string_buffer(b"GPL")
    head = struct.pack(
        "<IIQQ",
        _PROG_TYPE_TRACING,
        len(_RETURN_0) // 8,
        ctypes.addressof(code),
        ctypes.addressof(licence),
    )
    # expected_attach_type stands at 68, attach_btf_id at 108.
    fields = head.ljust(68, b"\0") + struct.pack("<I", _TRACE_FENTRY)
    fields = fields.ljust(108, b"\0") + struct.pack("<I", function)
    return syscalls.bpf(_PROG_LOAD, ctypes.create_string_buffer(fields, 144))
