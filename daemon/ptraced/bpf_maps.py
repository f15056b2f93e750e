"""BPF maps and programs by bpf(2): made, filled, read, closed.

BCC only compiles for us (compiler.py). Objects are created here, so that one
compilation serves any number of sessions and every descriptor has one owner.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from ptraced import syscalls
from ptraced.kernel_answers import NO_ROOM

# enum bpf_cmd, enum bpf_map_type, enum bpf_prog_type: include/uapi/linux/bpf.h
_MAP_CREATE, _MAP_LOOKUP, _MAP_UPDATE, _MAP_DELETE, _MAP_NEXT_KEY, _PROG_LOAD = range(6)
_OBJ_GET_INFO = 15
PROG_KPROBE, PROG_TRACEPOINT, PROG_PERF_EVENT = 2, 5, 7
MAP_ARRAY = 2
F_MMAPABLE = 1 << 10

# offsetof(struct bpf_prog_info, recursion_misses); since kernel commit 9ed9e9ba2337.
_RECURSION_MISSES = 208
_LOG_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class MapSpec:
    """What a map is made from; sizes in bytes."""

    type: int
    key_size: int
    value_size: int
    max_entries: int
    flags: int


class Map:
    """A BPF map of 4-byte keys, owned by this object."""

    def __init__(self, name: str, spec: MapSpec) -> None:
        attr = _attr(
            struct.pack(
                "<7I16s",
                spec.type,
                spec.key_size,
                spec.value_size,
                spec.max_entries,
                spec.flags,
                0,
                0,
                name.encode()[:15],
            )
        )
        self.spec = spec
        self.fd = syscalls.bpf(_MAP_CREATE, attr)

    def update(self, key: int, value: bytes) -> None:
        """Set the element of `key`; `value` has the map's value size."""
        self._element(_MAP_UPDATE, key, ctypes.create_string_buffer(value, len(value)))

    def delete(self, key: int) -> None:
        """Remove `key`; nothing happens where it is not there."""
        try:
            self._element(_MAP_DELETE, key, None)
        except FileNotFoundError:
            pass

    def present_keys(self) -> Iterator[int]:
        """Walk the keys of a hash map; keys that come or go meanwhile may be missed."""
        key = ctypes.c_uint32()
        following = ctypes.c_uint32()
        at: int | None = None
        while True:
            attr = _attr(struct.pack("<IxxxxQQ", self.fd, at or 0, ctypes.addressof(following)))
            try:
                syscalls.bpf(_MAP_NEXT_KEY, attr)
            except FileNotFoundError:
                return
            key.value = following.value
            at = ctypes.addressof(key)
            yield key.value

    def mapped(self) -> mmap.mmap:
        """The values of an F_MMAPABLE array, shared with the kernel."""
        size = (self.spec.value_size + 7 & ~7) * self.spec.max_entries
        return mmap.mmap(self.fd, -(-size // mmap.PAGESIZE) * mmap.PAGESIZE)

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def _element(self, command: int, key: int, value: ctypes.Array[ctypes.c_char] | None) -> None:
        key_buffer = ctypes.c_uint32(key)
        value_at = ctypes.addressof(value) if value is not None else 0
        attr = struct.pack("<IxxxxQQQ", self.fd, ctypes.addressof(key_buffer), value_at, 0)
        syscalls.bpf(command, _attr(attr))


class VerifierError(OSError):
    """The kernel's verifier refused a program; `log` is what it said."""

    def __init__(self, code: int, log: str) -> None:
        super().__init__(code, os.strerror(code))
        self.log = log


def load_program(kind: int, name: str, instructions: bytes, attach_type: int = 0) -> int:
    """Load a program of a PROG_ type; returns its descriptor.

    `attach_type` is BPF_* of enum bpf_attach_type, where the kernel wants to know it early.

    Raises VerifierError with the verifier's log, PermissionError without CAP_BPF
    and CAP_PERFMON.
    """
    try:
        return _load(kind, name, instructions, attach_type, None)
    except PermissionError as error:
        if error.errno == errno.EPERM:
            raise
        return _load_with_log(kind, name, instructions, attach_type)
    except OSError:
        return _load_with_log(kind, name, instructions, attach_type)


def _load_with_log(kind: int, name: str, instructions: bytes, attach_type: int) -> int:
    log = ctypes.create_string_buffer(_LOG_BYTES)
    try:
        return _load(kind, name, instructions, attach_type, log)
    except OSError as error:
        text = log.value.decode(errors="replace")
        if not text or error.errno in NO_ROOM:
            # It did not come to that, or the program passed and found no place.
            raise
        raise VerifierError(error.errno or errno.EINVAL, text) from None


def _load(
    kind: int,
    name: str,
    instructions: bytes,
    attach_type: int,
    log: ctypes.Array[ctypes.c_char] | None,
) -> int:
    code = ctypes.create_string_buffer(instructions, len(instructions))
    licence = ctypes.create_string_buffer(b"GPL")
    attr = struct.pack(
        "<IIQQIIQII16sII",
        kind,
        len(instructions) // 8,
        ctypes.addressof(code),
        ctypes.addressof(licence),
        1 if log is not None else 0,
        len(log) if log is not None else 0,
        ctypes.addressof(log) if log is not None else 0,
        0,
        0,
        name.encode()[:15],
        0,
        attach_type,
    )
    return syscalls.bpf(_PROG_LOAD, _attr(attr))


def skipped_runs(program: int) -> int:
    """How often the kernel skipped a program as another ran on that CPU, since it was loaded.

    0 on kernels that do not count it.
    """
    info = ctypes.create_string_buffer(256)
    attr = _attr(struct.pack("<IIQ", program, len(info), ctypes.addressof(info)))
    syscalls.bpf(_OBJ_GET_INFO, attr)
    (misses,) = struct.unpack_from("<Q", info.raw, _RECURSION_MISSES)
    return int(misses)


def _attr(fields: bytes) -> ctypes.Array[ctypes.c_char]:
    # The kernel wants everything behind the fields it is given to be zero.
    return ctypes.create_string_buffer(fields, 144)
