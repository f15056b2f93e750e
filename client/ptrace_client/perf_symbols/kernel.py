"""The recorded kernel: where it and its modules are mapped.

What needs its symbols is imported when a sample lies in it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from ptrace_client.perf_data.model import Recording
from ptrace_client.perf_symbols.dsos import KERNEL, Dsos, LoadedDso
from ptrace_client.perf_symbols.maps import Maps
from ptrace_client.perf_symbols.model import Map
from ptrace_client.perf_symbols.numbers import load_numpy


class LateSymbol(NamedTuple):
    """A function that came at run time, and the mapping that it lies in."""

    map: Map
    start: int
    size: int
    name: str


@dataclass
class KernelSources:
    """Where symbols may come from: files of the user, the recording, files under `symfs`."""

    recording: Recording
    kallsyms: str | None
    vmlinux: str | None
    symfs: str


@dataclass
class Kernel:
    """`maps` are those of the kernel's addresses."""

    sources: KernelSources
    dsos: Dsos
    maps: Maps = field(default_factory=Maps)
    # That of the image itself.
    image: Map | None = None
    # Name and recorded address of the symbol that the image's mapping is named after.
    reference: tuple[str, int] | None = None
    late: list[LateSymbol] = field(default_factory=list)
    _is_loaded: bool = False

    def mapped(self, name: str, start: int, size: int, pgoff: int, build_id: bytes) -> None:
        """Take in a mapping: of the kernel itself, or of a module."""
        if name.startswith(KERNEL[:-1]):
            self._image_mapped(name[len(KERNEL) :], start, size, pgoff, build_id)
        elif name.startswith(("/", "[")):
            dso = self.dsos.module(name)
            dso.is_kernel = True
            if build_id:
                dso.build_id = build_id
            self.maps.insert(Map(start, start + size, 0, dso))

    def symbol_registered(self, name: str, start: int, size: int) -> None:
        """Take in a function that came at run time (PERF_RECORD_KSYMBOL)."""
        known = self.maps.find(start)
        if known is None:
            known = Map(start, start + size, 0, LoadedDso(name, name, name, b"", is_kernel=True))
            self.maps.insert(known)
        self.late.append(LateSymbol(known, start, size, name))
        self.maps.forget()

    def symbol_gone(self, start: int) -> None:
        """Take in that a function is there no more."""
        known = self.maps.find(start)
        if known is not None and known is not self.image:
            self.maps.remove(known)

    def load(self) -> None:
        """Find the symbols of the kernel and its modules, and what came since."""
        if self.late or (self.image is not None and not self._is_loaded):
            load_numpy()
            from ptrace_client.perf_symbols.kernel_symbols import load_image, take_late

            if self.image is not None and not self._is_loaded:
                self._is_loaded = True
                load_image(self)
            take_late(self)
            self.maps.forget()

    def _image_mapped(
        self, reference: str, start: int, size: int, pgoff: int, build_id: bytes
    ) -> None:
        dso = self.dsos.kernel()
        if build_id:
            dso.build_id = build_id
        if self.image is not None:
            self.maps.remove(self.image)
        end = start + size if start or size else (1 << 64) - 1
        self.image = Map(start, end, 0, dso, absolute=True)
        self.maps.insert(self.image)
        # Zero: whoever recorded was not to know the kernel's addresses.
        if pgoff and reference:
            self.reference = reference, pgoff
