"""The symbols of the recorded kernel, from wherever they can be had.

In perf's order: what the user names; what the recording holds; an image with the recorded build
id; /proc/kallsyms if this host runs the recorded kernel; perf's own copies of it.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator

import numpy as np

from ptrace_client.errors import ClientError
from ptrace_client.perf_data.model import Recording
from ptrace_client.perf_symbols.dsos import KERNEL, LoadedDso
from ptrace_client.perf_symbols.elf_symbols import read_absolute
from ptrace_client.perf_symbols.files import (
    build_id_of,
    cache_folder,
    cached,
    is_same_build,
    opened,
)
from ptrace_client.perf_symbols.kallsyms import read_kallsyms, reference_addresses
from ptrace_client.perf_symbols.kallsyms_lines import KallsymsLines, split_lines
from ptrace_client.perf_symbols.kernel import Kernel, LateSymbol
from ptrace_client.perf_symbols.model import Dso, Map
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


def load_image(kernel: Kernel, *, by_lines: bool = True) -> None:
    """Give the kernel's and its modules' mappings their symbols.

    With `by_lines`, such as nothing can be added to, if there are as good ones.
    """
    assert kernel.image is not None
    dso = kernel.image.dso
    assert isinstance(dso, LoadedDso)
    for found, move in _Finder(kernel).tables(dso):
        if isinstance(found, bytes) and by_lines and _split_lines(kernel, found, move):
            return
        table = read_kallsyms(found) if isinstance(found, bytes) else found
        if len(table):
            _split(kernel, table, move)
            return


def take_late(kernel: Kernel) -> None:
    """Add the functions that came at run time."""
    if any(isinstance(_symbols(late.map), KallsymsLines) for late in kernel.late):
        load_image(kernel, by_lines=False)
    late_by_dso: dict[Dso, list[LateSymbol]] = {}
    for late in kernel.late:
        late_by_dso.setdefault(late.map.dso, []).append(late)
    for dso, symbols in late_by_dso.items():
        assert isinstance(dso, LoadedDso)
        if not isinstance(dso.symbols, SymbolTable):
            dso.symbols = SymbolTable()
        starts = [late.map.to_file(late.start) % (1 << 64) for late in symbols]
        sizes = [late.size for late in symbols]
        names = [late.name.encode(errors="surrogateescape") for late in symbols]
        bindings = np.zeros(len(symbols), np.uint8)
        dso.symbols.add(np.array(starts, np.uint64), np.array(sizes, np.uint64), bindings, names)
    kernel.late.clear()


def check_given(kallsyms: str | None, vmlinux: str | None) -> None:
    """Raise ClientError where a file of the user cannot tell symbols."""
    if kallsyms is not None:
        _read_given(kallsyms)
    if vmlinux is not None:
        _check_image(vmlinux)


class _Finder:
    """Looks for tables of symbols."""

    def __init__(self, kernel: Kernel) -> None:
        self._recording = kernel.sources.recording
        self._symfs = kernel.sources.symfs
        self._vmlinux = kernel.sources.vmlinux
        self._kallsyms = kernel.sources.kallsyms
        self._reference = kernel.reference

    def tables(self, dso: LoadedDso) -> Iterator[tuple[SymbolTable | bytes, int]]:
        """Symbols, and how much higher they were recorded; what is wanted first comes first.

        Those of /proc/kallsyms are its text.
        """
        if self._kallsyms is not None:
            text = _read_given(self._kallsyms)
            yield text, self._moved(text)
            return
        if self._vmlinux is not None:
            yield self._from_image(self._vmlinux, dso)
            return
        tracing = self._recording.tracing
        if tracing is not None and any(reference_addresses(tracing.kallsyms).values()):
            yield tracing.kallsyms, self._moved(tracing.kallsyms)
        for path in self._image_paths(dso.build_id):
            yield self._from_image(path, dso)
        if not self._symfs:
            for path in self._kallsyms_paths(dso.build_id):
                text = _read(path)
                if any(reference_addresses(text).values()):
                    yield text, self._moved(text)

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


def _symbols(map: Map) -> SymbolTable | KallsymsLines | None:
    assert isinstance(map.dso, LoadedDso)
    return map.dso.symbols


def _split_lines(kernel: Kernel, text: bytes, move: int) -> bool:
    """Do what _split() does, for text; return whether that can be done."""
    assert kernel.image is not None
    lines = split_lines(text)
    if lines is None:
        return False
    own, of_modules = lines
    for name in {line.partition(b"\t[")[2] for line in of_modules.lines}:
        map = kernel.maps.by_name(os.fsdecode(b"[" + name))
        if map is not None and _symbols(map) is None:
            assert isinstance(map.dso, LoadedDso)
            module = name.removesuffix(b"]").decode(errors="surrogateescape")
            map.dso.symbols = KallsymsLines(of_modules, map.pgoff - map.start, module)
    dso = kernel.image.dso
    assert isinstance(dso, LoadedDso)
    dso.symbols = KallsymsLines(own, move)
    kernel.image.start, kernel.image.end = dso.symbols.range
    return True


def _split(kernel: Kernel, table: SymbolTable, move: int) -> None:
    """Give the kernel's symbols to its mapping, those of modules to theirs, as perf does."""
    assert kernel.image is not None
    modules = [name.partition(b"\t[")[2] for name in table.names]
    known: dict[bytes, Map | None] = {}
    own = np.zeros(len(table), bool)
    of_module: dict[bytes, list[int]] = {}
    in_module = False
    for index, module in enumerate(modules):
        if module:
            if module not in known:
                known[module] = kernel.maps.by_name(os.fsdecode(b"[" + module))
            in_module = known[module] is not None
            if in_module:
                of_module.setdefault(module, []).append(index)
        elif not in_module or not own.any():
            # What lies behind a module's symbols is no part of the image.
            own[index] = True
            in_module = False
    for module, indices in of_module.items():
        _give_to_module(known[module], table, indices)
    dso = kernel.image.dso
    assert isinstance(dso, LoadedDso)
    dso.symbols = table.select(own, move)
    if len(dso.symbols):
        kernel.image.start, kernel.image.end = dso.symbols.first_start, dso.symbols.last_end


def _give_to_module(map: Map | None, table: SymbolTable, indices: list[int]) -> None:
    assert map is not None
    assert isinstance(map.dso, LoadedDso)
    if not isinstance(map.dso.symbols, SymbolTable):
        chosen = np.zeros(len(table), bool)
        chosen[indices] = True
        selected = map.dso.symbols = table.select(chosen, map.pgoff - map.start)
        selected.rename(lambda name: name.partition(b"\t")[0])


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
    features, here = recording.features, platform.uname()
    return (features.hostname, features.os_release) == (here.node, here.release)


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
