"""The process that BCC and LLVM live in: C text in, BPF objects out.

One JSON line per request on standard input, one per answer on standard output.
The worker makes no use of the maps that BCC creates along the way: it reads
the instructions, notes where they name which map, and drops the module.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
from typing import Any

from bcc.libbcc import lib

from ptraced.bpf_maps import MapSpec
from ptraced.bpf_object import BpfObject, Program, find_map_references, find_owner_loads

lib.bpf_table_name.restype = ctypes.c_char_p
lib.bpf_table_name.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
for _function in (lib.bpf_table_key_size, lib.bpf_table_leaf_size):
    _function.restype = ctypes.c_size_t
    _function.argtypes = [ctypes.c_void_p, ctypes.c_char_p]


class RefusedError(Exception):
    """clang refused the text; what it said stands on standard error."""


def compile_object(text: str, flags: list[str]) -> BpfObject:
    """Compile C text with BCC; raises RefusedError where clang refuses it."""
    array = (ctypes.c_char_p * len(flags))(*(flag.encode() for flag in flags))
    module = lib.bpf_module_create_c_from_string(text.encode(), 0, array, len(array), True, None)
    if not module:
        raise RefusedError("clang refused a generated program")
    try:
        descriptors, maps = _maps(module)
        return BpfObject(_programs(module, descriptors), maps)
    finally:
        lib.bpf_module_destroy(module)


def _maps(module: int) -> tuple[dict[int, str], dict[str, MapSpec]]:
    descriptors = {}
    maps = {}
    for index in range(lib.bpf_num_tables(module)):
        name = lib.bpf_table_name(module, index)
        descriptors[lib.bpf_table_fd(module, name)] = name.decode()
        maps[name.decode()] = MapSpec(
            type=lib.bpf_table_type_id(module, index),
            key_size=lib.bpf_table_key_size(module, name),
            value_size=lib.bpf_table_leaf_size(module, name),
            max_entries=lib.bpf_table_max_entries_id(module, index),
            flags=lib.bpf_table_flags_id(module, index),
        )
    return descriptors, maps


def _programs(module: int, descriptors: dict[int, str]) -> dict[str, Program]:
    programs = {}
    for index in range(lib.bpf_num_functions(module)):
        name = lib.bpf_function_name(module, index)
        size = lib.bpf_function_size(module, name)
        code = ctypes.string_at(lib.bpf_function_start(module, name), size)
        programs[name.decode()] = Program(
            code, find_map_references(code, descriptors), find_owner_loads(code)
        )
    return programs


def _answer(request: dict[str, Any]) -> dict[str, Any]:
    # clang writes its diagnostics to descriptor 2; they belong into the answer.
    with os.fdopen(os.memfd_create("diagnostics"), "w+b") as diagnostics:
        kept = os.dup(2)
        os.dup2(diagnostics.fileno(), 2)
        try:
            return compile_object(request["text"], request["flags"]).to_json()
        except RefusedError as error:
            diagnostics.seek(0)
            said = diagnostics.read().decode(errors="replace")
            return {"error": f"{error}\n{said}".strip()}
        finally:
            os.dup2(kept, 2)
            os.close(kept)


def main() -> None:
    # Standard output may be written to by libraries; answers go to a copy of it.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        answers.write(json.dumps(_answer(json.loads(line))) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
