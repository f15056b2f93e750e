"""The machine code at a recorded address, out of the file that was mapped there."""

from __future__ import annotations

from collections import OrderedDict
from typing import NamedTuple

from ptrace_client.perf_symbols.dsos import VDSO, LoadedDso
from ptrace_client.perf_symbols.files import own_vdso
from ptrace_client.perf_symbols.loading import Loader
from ptrace_client.perf_symbols.model import Location
from ptrace_elf.elf import Data, Elf, ElfError, open_regular

_EM_386, _EM_X86_64 = 3, 62
# Files that are held open.
_MOST_OPEN = 32
# No instruction is longer, and some bytes may follow.
_SIZE = 16


class _File(NamedTuple):
    data: Data
    is_64bit: bool


class Code:
    """Reads code of x86 out of mapped files, which stay open for the next time."""

    def __init__(self, loader: Loader) -> None:
        self._loader = loader
        self._files: OrderedDict[LoadedDso, _File | None] = OrderedDict()

    def at(self, location: Location) -> tuple[bytes, bool] | None:
        """Return the next bytes, and whether they are of 64-bit code; None where not known."""
        map = location.map
        if map is None or map.absolute or not isinstance(map.dso, LoadedDso):
            return None
        file = self._file(map.dso)
        if file is None:
            return None
        offset = map.to_file(location.address)
        size = min(_SIZE, file.data.size - offset)
        if offset < 0 or size <= 0:
            return None
        try:
            return file.data.read(offset, size), file.is_64bit
        except (ElfError, OSError):
            return None

    def close(self) -> None:
        """Close the files."""
        for file in self._files.values():
            if file is not None:
                file.data.close()
        self._files.clear()

    def _file(self, dso: LoadedDso) -> _File | None:
        if dso in self._files:
            self._files.move_to_end(dso)
            return self._files[dso]
        # perf reads no code of a file whose symbols it did not find.
        file = self._opened(dso) if len(self._loader.load(dso)) else None
        self._files[dso] = file
        if len(self._files) > _MOST_OPEN:
            _, oldest = self._files.popitem(last=False)
            if oldest is not None:
                oldest.data.close()
        return file

    def _opened(self, dso: LoadedDso) -> _File | None:
        if dso.name == VDSO:
            elf = own_vdso()
            return None if elf is None else _x86(elf)
        path = self._loader.path(dso)
        if path is None:
            return None
        data: Data | None = None
        try:
            data = open_regular(path)
            file = _x86(Elf(data))
        except (OSError, ElfError, ValueError):
            file = None
        if file is None and data is not None:
            data.close()
        return file


def _x86(elf: Elf) -> _File | None:
    if elf.machine not in (_EM_386, _EM_X86_64):
        return None
    return _File(elf.data, elf.bits == 2)
