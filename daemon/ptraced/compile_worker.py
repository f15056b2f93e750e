"""The process that BCC and LLVM live in: C text in, BPF objects out.

One JSON line per request on standard input, one per answer on standard output.
It reads the instructions, notes where they name which map, and drops the module.

The process has no privilege and sees no BPF: BCC believes that it makes maps along the way, and
gets numbers that are no descriptors.
"""

from __future__ import annotations

import ctypes
import errno
import itertools
import json
import os
import queue
import resource
import select
import struct
import sys
import threading
from pathlib import Path
from typing import Any

from bcc.libbcc import lib

from ptraced import sandbox
from ptraced.bpf_maps import MapSpec
from ptraced.bpf_object import BpfObject, Program, find_map_references, find_owner_loads

# Bytes. All tracepoints of a kernel in one module take 350 MiB of addresses; what clang says is
# the only file that is written.
_LIMITS = {
    resource.RLIMIT_AS: 1 << 30,
    resource.RLIMIT_FSIZE: 1 << 20,
    resource.RLIMIT_NOFILE: 256,
}
_HEAD = (Path(__file__).parent / "bpf/helpers.h").read_text()
# Beyond all descriptors that there can be.
_FIRST_MAP = 1_000_000

_MAP_CREATE = 0
# struct seccomp_notif with struct seccomp_data in it, and struct seccomp_notif_resp.
_NOTIFICATION_BYTES = 80
_NOTIFICATION_ID, _NOTIFICATION_ARGUMENTS = 0, 32
_RESPONSE = struct.Struct("=QqiI")

_libc = ctypes.CDLL(None, use_errno=True)
lib.bpf_table_name.restype = ctypes.c_char_p
lib.bpf_table_name.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
for _function in (lib.bpf_table_key_size, lib.bpf_table_leaf_size):
    _function.restype = ctypes.c_size_t
    _function.argtypes = [ctypes.c_void_p, ctypes.c_char_p]


class RefusedError(Exception):
    """clang refused the text; what it said stands on standard error."""


def compile_object(text: str, flags: list[str]) -> BpfObject:
    """Compile C text with BCC behind bpf/helpers.h; raises RefusedError where clang refuses it."""
    array = (ctypes.c_char_p * len(flags))(*(flag.encode() for flag in flags))
    module = lib.bpf_module_create_c_from_string(
        (_HEAD + text).encode(), 0, array, len(array), True, None
    )
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


class MapMaker:
    """Answers the main thread's calls of bpf(2), in a thread of its own, behind its own wall.

    A map gets a number that is no descriptor; all else is refused. Ends the process when the
    daemon has gone, also while clang is busy.
    """

    def __init__(self) -> None:
        self._numbers = itertools.count(_FIRST_MAP)
        self._listeners: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._confined = threading.Event()
        threading.Thread(target=self._run, name="maps", daemon=True).start()

    def confine_both(self) -> None:
        """Put the calling thread behind the filter, and that of this object."""
        self._listeners.put(sandbox.confine_thread(bpf_is_answered=True))
        self._confined.wait()

    def _run(self) -> None:
        listener = self._listeners.get()
        sandbox.confine_thread()
        self._confined.set()
        poll = select.poll()
        poll.register(listener, select.POLLIN)
        # Of standard input only its end, which is always told.
        poll.register(0, 0)
        while True:
            ready = dict(poll.poll())
            if 0 in ready:
                os._exit(0)
            self._answer(listener)

    def _answer(self, listener: int) -> None:
        call = ctypes.create_string_buffer(_NOTIFICATION_BYTES)
        if _libc.ioctl(listener, ctypes.c_ulong(sandbox.NOTIFICATION_RECEIVE), call):
            return
        (number,) = struct.unpack_from("=Q", call, _NOTIFICATION_ID)
        (command,) = struct.unpack_from("=Q", call, _NOTIFICATION_ARGUMENTS)
        if command & 0xFFFFFFFF == _MAP_CREATE:
            response = _RESPONSE.pack(number, next(self._numbers), 0, 0)
        else:
            response = _RESPONSE.pack(number, 0, -errno.EPERM, 0)
        _libc.ioctl(listener, ctypes.c_ulong(sandbox.NOTIFICATION_SEND), response)


def _confine() -> None:
    sandbox.limit(_LIMITS)
    sandbox.give_up_privileges()
    MapMaker().confine_both()


def main() -> None:
    # Standard output may be written to by libraries; answers go to a copy of it.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    _confine()
    for line in sys.stdin:
        answers.write(json.dumps(_answer(json.loads(line))) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
