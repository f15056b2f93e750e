"""The files that are mapped: found, checked to be the mapped ones, and their symbols kept."""

from __future__ import annotations

import ctypes
import mmap
import os
import time
from collections import OrderedDict
from collections.abc import Iterator

from ptrace_elf.elf import BytesData, Elf, ElfError, FileData, open_regular
from ptraced.symbols import proc
from ptraced.symbols.address_space import MappedFile, Mapping
from ptraced.symbols.debug_files import symbol_tables
from ptraced.symbols.demangle import Demangler
from ptraced.symbols.table import SymbolTable

# Bytes of symbol tables, and files, that are kept.
_BYTES_MAX = 256 << 20
_IMAGES_MAX = 2048
# Names that an image keeps as they were found; one with more forgets them all.
_NAMES_MAX = 20_000
# A file with so many names that take a demangler too long keeps the others as they are.
_FAILURES_MAX = 3
# A file that was not found is looked for again after this many seconds, doubling.
_RETRY, _RETRY_MAX = 0.5, 60.0
_DELETED = " (deleted)"
VDSO = "[vdso]"


class Image:
    """Symbols of one file."""

    def __init__(self, elf: Elf, tables: list[SymbolTable]) -> None:
        self._elf = elf
        self._tables = tables
        self._found: dict[int, tuple[str, int] | None] = {}
        self._failures = 0
        self.size = 1024 + sum(table.size for table in tables)

    def find(self, offset: int, demangler: Demangler) -> tuple[str, int] | None:
        """Name of the function at a place in the file, and where in the file it starts."""
        try:
            return self._found[offset]
        except KeyError:
            pass
        if len(self._found) >= _NAMES_MAX:
            self._found.clear()
        found = self._found[offset] = self._find(offset, demangler)
        return found

    def _find(self, offset: int, demangler: Demangler) -> tuple[str, int] | None:
        address = self._elf.address_of(offset)
        if address is None:
            return None
        for table in self._tables:
            found = table.find(address)
            if found is not None:
                name, start = found
                return self._demangled(name, demangler), offset - (address - start)
        return None

    def _demangled(self, name: str, demangler: Demangler) -> str:
        if self._failures >= _FAILURES_MAX:
            return name
        before = demangler.failures
        name = demangler.demangle(name)
        self._failures += demangler.failures - before
        return name


class Images:
    """The images of all files, by what tells one content from another."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[object, ...], Image] = OrderedDict()
        self._bytes = 0

    def of(self, mapping: Mapping, pid: int) -> Image | None:
        """The image of a mapping of a process; None where its file is not to be had.

        The file is looked for where the process sees it, and taken only if it is the very
        one that is mapped.
        """
        file = mapping.file
        if file.path == VDSO:
            return self._vdso(mapping)
        known = file.found_by in (None, pid)
        if known and file.key is not None and file.key in self._kept:
            self._kept.move_to_end(file.key)
            return self._kept[file.key]
        now = time.monotonic()
        if (known and now < file.retry_at) or not file.path.startswith("/"):
            return None
        image = self._load(file, mapping, pid)
        if image is None:
            file.key, file.found_by = None, pid
            file.retry_at = now + min(_RETRY_MAX, _RETRY * 2**file.failures)
            file.failures = min(file.failures + 1, 10)
        return image

    def _load(self, file: MappedFile, mapping: Mapping, pid: int) -> Image | None:
        for place, path in enumerate(_places(file.path, mapping, pid)):
            try:
                data = open_regular(path)
            except OSError:
                continue
            try:
                found = self._image(file, data, pid)
                if found is not None:
                    # What is seen from here, or is root's, is nobody's trick on others.
                    open_to_all = place == 0 or os.fstat(data.fd).st_uid == 0
                    file.found_by = None if open_to_all else pid
                    return found
            except (OSError, ElfError, ValueError, MemoryError):
                # No file that anybody's tools made, or one that is just being changed.
                continue
            finally:
                data.close()
        return None

    def _image(self, file: MappedFile, data: FileData, pid: int) -> Image | None:
        elf = Elf(data)
        build_id = elf.build_id()
        if file.build_id is not None:
            if build_id != file.build_id:
                return None
        elif not _is_mapped_one(data, file.identity):
            return None
        status = os.fstat(data.fd)
        # Not by the build id: anybody can give a file that of another. Owners set st_mtime as they
        # like, but not st_ctime.
        times = status.st_mtime_ns, status.st_ctime_ns
        file.key = ("file", status.st_dev, status.st_ino, status.st_size, *times)
        if file.key not in self._kept:
            roots = ["", f"/proc/{pid}/root"]
            directory = os.path.dirname(file.path)
            tables = symbol_tables(elf, build_id, directory, roots, {0, status.st_uid})
            self._keep(file.key, Image(elf, tables))
        return self._kept[file.key]

    def _vdso(self, mapping: Mapping) -> Image | None:
        # 32-bit programs have another one, which this process has not.
        if mapping.end <= 1 << 32:
            return None
        key = (VDSO,)
        if key not in self._kept:
            try:
                elf = Elf(BytesData(_own_vdso()))
                self._keep(key, Image(elf, symbol_tables(elf, None, "", [])))
            except ElfError:
                return None
        return self._kept[key]

    def _keep(self, key: tuple[object, ...], image: Image) -> None:
        self._kept[key] = image
        self._bytes += image.size
        while len(self._kept) > 1 and (self._bytes > _BYTES_MAX or len(self._kept) > _IMAGES_MAX):
            _, dropped = self._kept.popitem(last=False)
            self._bytes -= dropped.size


def _places(path: str, mapping: Mapping, pid: int) -> Iterator[str]:
    """Where a mapped file may be found: first where all processes of this root have it."""
    path = path.removesuffix(_DELETED)
    yield path
    yield f"/proc/{pid}/root{path}"
    # Also where it was deleted, but only for who has CAP_CHECKPOINT_RESTORE.
    yield f"/proc/{pid}/map_files/{mapping.start:x}-{mapping.end:x}"


def _is_mapped_one(data: FileData, identity: tuple[int, int] | None) -> bool:
    """Whether a file is the one that the kernel calls by a device and an inode."""
    if identity is None:
        return False
    status = os.fstat(data.fd)
    if (status.st_dev, status.st_ino) == identity:
        return True
    if not data.size:
        return False
    # Btrfs shows another device in stat(2) than in mappings, overlayfs of some kernels another
    # inode too: map it and look.
    with mmap.mmap(
        data.fd, 1, prot=mmap.PROT_READ | mmap.PROT_WRITE, flags=mmap.MAP_PRIVATE
    ) as own:
        at = ctypes.addressof(ctypes.c_char.from_buffer(own))
        return any(
            mapped.start <= at < mapped.end and mapped.identity == identity
            for mapped in proc.memory(os.getpid())
        )


def _own_vdso() -> bytes:
    """The vdso that the kernel gives to all 64-bit programs."""
    for mapped in proc.executable_memory(os.getpid()):
        if mapped.path == VDSO:
            return ctypes.string_at(mapped.start, mapped.end - mapped.start)
    raise ElfError("no vdso")
