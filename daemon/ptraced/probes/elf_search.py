"""Files by their bare names: libraries as ld.so's cache lists them, programs as on PATH.

The cache is what ldconfig(8) writes, struct cache_file_new in glibc's
sysdeps/generic/dl-cache.h.
"""

from __future__ import annotations

import os
import stat
import struct
from collections.abc import Callable

from ptraced.diagnostics import printable
from ptraced.errors import NotFound

# Opens a path; raises OSError.
Opener = Callable[[str, int], int]

_CACHE = "/etc/ld.so.cache"
# A target process may have a root, and a cache, of its own making. Large hosts' have 200 KiB.
_CACHE_BYTES_MAX = 4 << 20
_PATHS_MAX = 64
_PATH_BYTES_MAX = 4096
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


def cached_libraries(cache: bytes, flags: int, name: str) -> list[str]:
    """The paths of the libraries that `name` may mean, best first; at most 64.

    `cache` is what the cache's file has; of its entries those with these `flags` count.
    """
    if len(cache) < _HEADER.size or not cache.startswith(_MAGIC):
        return []
    _, count, _, _, _ = _HEADER.unpack_from(cache)
    end = min(_HEADER.size + count * _ENTRY.size, len(cache))
    whole = end - (end - _HEADER.size) % _ENTRY.size
    wanted = os.fsencode(name)
    stems = (wanted + b".so", b"lib" + wanted + b".so")
    names = tuple(one + b"\0" for one in (wanted, *stems))
    versions = tuple(stem + b"." for stem in stems)
    # The names may overlap, and so be far longer together than the file: none is copied.
    found: dict[str, bool] = {}
    for entry, key, value, _, _ in _ENTRY.iter_unpack(memoryview(cache)[_HEADER.size : whole]):
        exact = entry == flags and cache.startswith(names, key)
        if exact or (entry == flags and cache.startswith(versions, key)):
            path = _path(cache, value)
            found[path] = exact or found.get(path, False)
            if len(found) == _PATHS_MAX:
                break
    return sorted(found, key=lambda path: (not found[path], "" if found[path] else path))


def _in_cache(name: str, opener: Opener) -> list[str]:
    handle = _regular(_CACHE, opener)
    if handle is None:
        return []
    try:
        # The very file that was looked at.
        with open(f"/proc/self/fd/{handle}", "rb") as file:
            cache = file.read(_CACHE_BYTES_MAX)
    except OSError:
        return []
    finally:
        os.close(handle)
    return cached_libraries(cache, _MACHINE_FLAGS.get(os.uname().machine, 0), name)


def _path(cache: bytes, start: int) -> str:
    return os.fsdecode(cache[start : start + _PATH_BYTES_MAX].partition(b"\0")[0])


def _is_file(path: str, opener: Opener) -> bool:
    handle = _regular(path, opener)
    if handle is not None:
        os.close(handle)
    return handle is not None


def _regular(path: str, opener: Opener) -> int | None:
    """A handle of a regular file, by which nothing is opened: FIFOs and devices do not notice."""
    try:
        handle = opener(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return None
    if stat.S_ISREG(os.fstat(handle).st_mode):
        return handle
    os.close(handle)
    return None
