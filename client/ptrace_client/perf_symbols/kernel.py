"""The recorded kernel: its mappings and its symbols, from wherever they can be had.

In perf's order: what the user names; what the recording holds; an image with the recorded build
id; /proc/kallsyms if this host runs the recorded kernel; perf's own copies of it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import numpy as np

from ptrace_client.errors import ClientError
from ptrace_client.perf_data.model import Recording
from ptrace_client.perf_symbols.dsos import KERNEL, Dsos, LoadedDso
from ptrace_client.perf_symbols.elf_symbols import read_absolute
from ptrace_client.perf_symbols.files import (
    build_id_of,
    cache_folder,
    cached,
    is_same_build,
    opened,
)
from ptrace_client.perf_symbols.kallsyms import read_kallsyms, reference_addresses
from ptrace_client.perf_symbols.maps import Maps
from ptrace_client.perf_symbols.model import Map
from ptrace_client.perf_symbols.table import SymbolTable
from ptrace_client.printing import terminal_safe
from ptrace_elf.elf import ElfError, build_id_in

_KALLSYMS_MAX = 512 << 20
_PROC_KALLSYMS = "/proc/kallsyms"
_IMAGES = (
    "/boot/vmlinux-{}",
    "/usr/lib/debug/boot/vmlinux-{}",
    "/lib/modules/{}/build/vmlinux",
    "/usr/lib/debug/lib/modules/{}/vmlinux",
)


class Kernel:
    """`maps` are those of the kernel's addresses."""

    def __init__(
        self,
        recording: Recording,
        dsos: Dsos,
        kallsyms: str | None,
        vmlinux: str | None,
        symfs: str,
    ) -> None:
        self.maps = Maps()
        self._recording = recording
        self._dsos = dsos
        self._vmlinux = vmlinux
        self._symfs = symfs
        self._given = None if kallsyms is None else _read_given(kallsyms)
        if vmlinux is not None:
            _check_image(vmlinux)
        self._map: Map | None = None
        # The recorded address of the symbol that the kernel's mapping is named after.
        self._reference: tuple[str, int] | None = None
        self._is_loaded = False

    def mapped(self, name: str, start: int, size: int, pgoff: int, build_id: bytes) -> None:
        """Take in a mapping: of the kernel itself, or of a module."""
        if name.startswith(KERNEL[:-1]):
            self._image_mapped(name[len(KERNEL) :], start, size, pgoff, build_id)
        elif name.startswith(("/", "[")):
            dso = self._dsos.module(name)
            dso.is_kernel = True
            if build_id:
                dso.build_id = build_id
            self.maps.insert(Map(start, start + size, 0, dso))

    def symbol_registered(self, name: str, start: int, size: int) -> None:
        """Take in a function that came at run time (PERF_RECORD_KSYMBOL)."""
        known = self.maps.find(start)
        if known is None:
            dso = LoadedDso(name, name, name, b"", is_kernel=True, symbols=SymbolTable())
            known = Map(start, start + size, 0, dso)
            self.maps.insert(known)
        table = _table_of(known)
        one = np.array([known.to_file(start)], np.uint64)
        encoded = name.encode(errors="surrogateescape")
        table.add(one, np.array([size], np.uint64), np.zeros(1, np.uint8), [encoded])
        self.maps.frames.clear()

    def symbol_gone(self, start: int) -> None:
        """Take in that a function is there no more."""
        known = self.maps.find(start)
        if known is not None and known is not self._map:
            self.maps.remove(known)

    def load(self) -> None:
        """Find the symbols of the kernel and its modules, once there is a mapping."""
        if self._is_loaded or self._map is None:
            return
        self._is_loaded = True
        dso = self._map.dso
        assert isinstance(dso, LoadedDso)
        for table, move in self._tables(dso):
            if len(table):
                self._split(table, move)
                self.maps.frames.clear()
                return

    def _image_mapped(
        self, reference: str, start: int, size: int, pgoff: int, build_id: bytes
    ) -> None:
        dso = self._dsos.kernel()
        if build_id:
            dso.build_id = build_id
        if self._map is not None:
            self.maps.remove(self._map)
        end = start + size if start or size else (1 << 64) - 1
        self._map = Map(start, end, 0, dso, absolute=True)
        self.maps.insert(self._map)
        # Zero: whoever recorded was not to know the kernel's addresses.
        if pgoff and reference:
            self._reference = reference, pgoff

    def _tables(self, dso: LoadedDso) -> Iterator[tuple[SymbolTable, int]]:
        """Symbols, and how much higher they were recorded; what is wanted first comes first."""
        if self._given is not None:
            yield read_kallsyms(self._given), self._moved(self._given)
            return
        if self._vmlinux is not None:
            yield self._from_image(self._vmlinux, dso)
            return
        tracing = self._recording.tracing
        if tracing is not None and any(reference_addresses(tracing.kallsyms).values()):
            yield read_kallsyms(tracing.kallsyms), self._moved(tracing.kallsyms)
        for path in self._image_paths(dso.build_id):
            yield self._from_image(path, dso)
        if not self._symfs:
            for path in self._kallsyms_paths(dso.build_id):
                text = _read(path)
                if any(reference_addresses(text).values()):
                    yield read_kallsyms(text), self._moved(text)

    def _image_paths(self, build_id: bytes) -> Iterator[str]:
        if not build_id:
            return
        copy = cached(build_id, "elf")
        if copy is not None:
            yield copy
        release = self._recording.features.os_release
        if release and "/" not in release:
            yield from (self._symfs + path.format(release) for path in _IMAGES)

    def _from_image(self, path: str, dso: LoadedDso) -> tuple[SymbolTable, int]:
        with opened(path) as elf:
            if elf is None or (dso.build_id and not is_same_build(dso.build_id, build_id_of(elf))):
                return SymbolTable(), 0
            try:
                table = read_absolute(elf)
            except ElfError:
                return SymbolTable(), 0
        if self._reference is None:
            return table, 0
        linked = table.start_of(self._reference[0].encode(errors="surrogateescape"))
        return table, 0 if linked is None else self._reference[1] - linked

    def _kallsyms_paths(self, build_id: bytes) -> Iterator[str]:
        if is_this_kernel(build_id, self._reference, self._recording):
            yield _PROC_KALLSYMS
        if build_id:
            text = build_id.hex()
            yield os.path.join(cache_folder(), KERNEL, text, "kallsyms")
            yield os.path.join(cache_folder(), KERNEL, text)

    def _moved(self, text: bytes) -> int:
        if self._reference is None:
            return 0
        name, recorded = self._reference
        now = reference_addresses(text).get(name, 0)
        return recorded - now if now else 0

    def _split(self, table: SymbolTable, move: int) -> None:
        """Give the kernel's symbols to its mapping, those of modules to theirs, as perf does."""
        assert self._map is not None
        modules = [name.partition(b"\t[")[2] for name in table.names]
        known: dict[bytes, Map | None] = {}
        own = np.zeros(len(table), bool)
        of_module: dict[bytes, list[int]] = {}
        in_module = False
        for index, module in enumerate(modules):
            if module:
                if module not in known:
                    known[module] = self.maps.by_name(os.fsdecode(b"[" + module))
                in_module = known[module] is not None
                if in_module:
                    of_module.setdefault(module, []).append(index)
            elif not in_module or not own.any():
                # What lies behind a module's symbols is no part of the image.
                own[index] = True
                in_module = False
        for module, indices in of_module.items():
            _give_to_module(known[module], table, indices)
        dso = self._map.dso
        assert isinstance(dso, LoadedDso)
        dso.symbols = table.select(own, move)
        if len(dso.symbols):
            self._map.start, self._map.end = dso.symbols.first_start, dso.symbols.last_end


def _give_to_module(map: Map | None, table: SymbolTable, indices: list[int]) -> None:
    assert map is not None
    assert isinstance(map.dso, LoadedDso)
    if map.dso.symbols is None:
        chosen = np.zeros(len(table), bool)
        chosen[indices] = True
        map.dso.symbols = table.select(chosen, map.pgoff - map.start)
        map.dso.symbols.rename(lambda name: name.partition(b"\t")[0])


def _table_of(map: Map) -> SymbolTable:
    dso = map.dso
    assert isinstance(dso, LoadedDso)
    if dso.symbols is None:
        dso.symbols = SymbolTable()
    return dso.symbols


def is_this_kernel(
    build_id: bytes, reference: tuple[str, int] | None, recording: Recording
) -> bool:
    """Whether this host runs the recorded kernel now."""
    try:
        with open("/sys/kernel/notes", "rb") as file:
            own = build_id_in(file.read(1 << 16)) or b""
    except OSError:
        own = b""
    if build_id and own:
        return is_same_build(build_id, own)
    now = reference_addresses(_read(_PROC_KALLSYMS))
    if reference is not None and now.get(reference[0]) == reference[1] != 0:
        return True
    features, here = recording.features, os.uname()
    return (features.hostname, features.os_release) == (here.nodename, here.release)


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(_KALLSYMS_MAX)
    except OSError:
        return b""


def _read_given(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            text = file.read(_KALLSYMS_MAX)
    except OSError as error:
        raise ClientError(
            f"the kernel's symbols cannot be read from {terminal_safe(path)}: {error.strerror}"
        ) from None
    if not len(read_kallsyms(text[: 1 << 20])):
        raise ClientError(
            f"{terminal_safe(path)} has no symbols of a kernel: give a copy of /proc/kallsyms"
        )
    return text


def _check_image(path: str) -> None:
    with opened(path) as elf:
        if elf is None:
            raise ClientError(
                f"{terminal_safe(path)} is no ELF file that can be read: give the kernel's vmlinux"
            )
