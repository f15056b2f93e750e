"""Files by their bare names: libraries as ld.so's cache lists them, programs as on PATH.

The cache is what ldconfig(8) writes, struct cache_file_new in glibc's
sysdeps/generic/dl-cache.h.
"""

from __future__ import annotations

import os
import stat
import struct
from collections.abc import Callable, Iterator

from ptraced.diagnostics import printable
from ptraced.errors import NotFound

# Opens a path; raises OSError.
Opener = Callable[[str, int], int]

_CACHE = "/etc/ld.so.cache"
_CACHE_BYTES_MAX = 16 << 20
_MAGIC = b"glibc-ld.so.cache1.1"
_HEADER = struct.Struct("<20sIIBxxxI12x")
_ENTRY = struct.Struct("<iIIIQ")
# Flags of an entry: an ELF library of glibc for this 64-bit machine.
_MACHINE_FLAGS = {"x86_64": 0x0303, "aarch64": 0x0A03}
_FOLDERS = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")


def find_by_name(name: str, opener: Opener) -> str:
    """The absolute path of a library ("libc.so.6", "libc", "c") or program ("bash").

    Raises NotFound with a message of one line.
    """
    for path in (*_in_cache(name, opener), *(f"{folder}/{name}" for folder in _FOLDERS)):
        if _is_file(path, opener):
            return path
    raise NotFound(
        f"no library or program is called '{printable(name)}' here; its absolute path does"
    )


def cached_libraries(cache: bytes, flags: int) -> Iterator[tuple[str, str]]:
    """The name and path of each library in the bytes of a cache whose flags are `flags`."""
    if len(cache) < _HEADER.size or not cache.startswith(_MAGIC):
        return
    _, count, _, _, _ = _HEADER.unpack_from(cache)
    end = min(_HEADER.size + count * _ENTRY.size, len(cache))
    whole = end - (end - _HEADER.size) % _ENTRY.size
    for entry, key, value, _, _ in _ENTRY.iter_unpack(cache[_HEADER.size : whole]):
        if entry == flags:
            yield _string(cache, key), _string(cache, value)


def _in_cache(name: str, opener: Opener) -> list[str]:
    try:
        fd = opener(_CACHE, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        return []
    with os.fdopen(fd, "rb") as file:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            return []
        cache = file.read(_CACHE_BYTES_MAX)
    flags = _MACHINE_FLAGS.get(os.uname().machine, 0)
    stems = (f"{name}.so", f"lib{name}.so")
    exact, versions = [], []
    for library, path in cached_libraries(cache, flags):
        if library in (name, *stems):
            exact.append(path)
        elif library.startswith(tuple(f"{stem}." for stem in stems)):
            versions.append(path)
    return exact + sorted(versions)


def _string(cache: bytes, start: int) -> str:
    return os.fsdecode(cache[start : start + 4096].partition(b"\0")[0])


def _is_file(path: str, opener: Opener) -> bool:
    try:
        fd = opener(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return stat.S_ISREG(os.fstat(fd).st_mode)
    finally:
        os.close(fd)
