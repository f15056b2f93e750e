"""Where the symbols of a recorded file lie on this machine: perf's places, in perf's order."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from ptrace_client.perf_symbols.dsos import VDSO, LoadedDso
from ptrace_elf.elf import BytesData, Data, Elf, ElfError, build_id_in, open_regular

_DEBUG = "/usr/lib/debug"
_NOTES_MAX = 1 << 20
_LINK_MAX = 4096
_BUILD_ID_SIZE = 20
_VDSO_MAX = 1 << 20


def cache_folder() -> str:
    """Return the folder in which perf keeps copies of what it recorded (perf-buildid-cache(1))."""
    own = os.path.join(os.environ.get("HOME", ""), ".debug")
    return os.environ.get("PERF_BUILDID_DIR") or own


def cached(build_id: bytes, kind: str) -> str | None:
    """Return the path of perf's copy of a file ("elf", "debug", "vdso", "kallsyms")."""
    if not build_id:
        return None
    text = build_id.hex()
    folder = os.path.join(cache_folder(), ".build-id", text[:2], text[2:])
    # Until perf 4.10 it was the file itself.
    return folder if os.path.isfile(folder) else os.path.join(folder, kind)


def candidates(dso: LoadedDso, symfs: str) -> Iterator[str]:
    """Yield paths that may have the symbols of a file, whether or not they are there."""
    path = symfs + dso.long_name
    linked = _debug_link(path)
    if linked is not None:
        folder = os.path.dirname(path)
        yield os.path.join(folder, linked)
        yield os.path.join(folder, ".debug", linked)
        yield f"{_DEBUG}{folder}/{linked}"
    kind = "vdso" if dso.name == VDSO else "elf"
    yield from filter(None, (cached(dso.build_id, kind), cached(dso.build_id, "debug")))
    yield f"{symfs}{_DEBUG}{dso.long_name}.debug"
    yield f"{symfs}{_DEBUG}{dso.long_name}"
    if dso.build_id:
        text = dso.build_id.hex()
        yield f"{symfs}{_DEBUG}/.build-id/{text[:2]}/{text[2:]}.debug"
    yield path
    folder, _, name = path.rpartition("/")
    yield f"{folder}/.debug/{name}"
    if dso.long_name.startswith("/usr/lib/"):
        yield f"{symfs}{_DEBUG}{dso.long_name[4:]}"


@contextlib.contextmanager
def opened(path: str) -> Iterator[Elf | None]:
    """Open an ELF file; None where there is none that can be believed."""
    data: Data | None = None
    try:
        data = open_regular(path)
        elf: Elf | None = Elf(data)
    except (OSError, ElfError, ValueError):
        elf = None
    try:
        yield elf
    finally:
        if data is not None:
            data.close()


def build_id_of(elf: Elf) -> bytes:
    """Return what the linker wrote to tell this file from others, b"" where nothing."""
    try:
        for name in (b".note.gnu.build-id", b".notes", b".note"):
            section = elf.section(name)
            if section is not None:
                return build_id_in(elf.content(section, _NOTES_MAX)) or b""
        return elf.build_id() or b""
    except ElfError:
        return b""


def is_same_build(wanted: bytes, found: bytes) -> bool:
    """Whether two build ids are one; old recordings fill up short ones with zeros."""
    if len(found) < len(wanted) == _BUILD_ID_SIZE:
        found = found.ljust(_BUILD_ID_SIZE, b"\0") if found else b""
    return wanted == found


def own_vdso() -> Elf | None:
    """Return the vdso of this process, which is that of all of its kind on this host."""
    try:
        with open("/proc/self/maps") as maps:
            ranges = [line.split()[0] for line in maps if line.rstrip().endswith(VDSO)]
        start, end = (int(address, 16) for address in ranges[0].split("-"))
        with open("/proc/self/mem", "rb") as memory:
            memory.seek(start)
            return Elf(BytesData(memory.read(min(end - start, _VDSO_MAX))))
    except (OSError, ElfError, IndexError, ValueError):
        return None


def _debug_link(path: str) -> str | None:
    """The name of the file with debug information that a file tells (.gnu_debuglink)."""
    with opened(path) as elf:
        section = None if elf is None else elf.section(b".gnu_debuglink")
        if elf is None or section is None:
            return None
        try:
            name = elf.content(section, _LINK_MAX).partition(b"\0")[0]
        except ElfError:
            return None
    return os.fsdecode(name) or None
