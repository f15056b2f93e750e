"""The files and images that a recording maps, each one object, by perf's rules for names."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, NamedTuple

from ptrace_client.perf_symbols.model import Dso

if TYPE_CHECKING:
    from ptrace_client.perf_symbols.kallsyms_lines import KallsymsLines
    from ptrace_client.perf_symbols.table import SymbolTable

KERNEL = "[kernel.kallsyms]"
VDSO = "[vdso]"
PERF_MAP = re.compile(r"/tmp/perf-(-?\d+)\.map")

_NAMED_IMAGES = (KERNEL, "[guest.kernel.kallsyms", VDSO, "[vdso32]", "[vdsox32]", "[vsyscall]")
_MODULE_FILE = re.compile(r"(?P<name>.*)\.ko(\.(gz|xz))?$")


class FileId(NamedTuple):
    """Which file a path stood for, as MMAP2 tells it; zeros where it does not."""

    major: int = 0
    minor: int = 0
    inode: int = 0
    generation: int = 0


_ANY_FILE = FileId()


@dataclass(eq=False, slots=True)
class LoadedDso(Dso):
    """A Dso and what was found of its symbols."""

    id: FileId = _ANY_FILE
    # The build id stems from the recording's table, by name.
    is_in_header: bool = False
    is_module: bool = False
    # None until symbols were looked for.
    symbols: SymbolTable | KallsymsLines | None = None
    # The file whose symbols they are, which is the one to ask for lines.
    symbol_file: str | None = None
    # From a file's offsets to the addresses that it was linked for.
    text_offset: int = 0


class Dsos:
    """All files and images of a recording by name."""

    def __init__(self) -> None:
        # By path: the one that nobody told the FileId of, else the first.
        self._any: dict[str, LoadedDso] = {}
        # By path and FileId without its generation, then by generation.
        self._by_id: dict[tuple[str, int, int, int], dict[int, LoadedDso]] = {}
        self._in_header: dict[str, LoadedDso] = {}
        self._by_short_name: dict[str, LoadedDso] = {}
        self._kernel: LoadedDso | None = None

    def header_build_id(self, name: str, build_id: bytes) -> None:
        """Note the build id that the recording's table has for a path or image."""
        dso = self.find_or_add(name)
        dso.build_id, dso.is_in_header = build_id, True
        self._in_header.setdefault(name, dso)
        if is_module_name(name):
            dso.is_kernel = dso.is_module = True
            self.set_short_name(dso, module_name(name))
        elif name.startswith(KERNEL) or name.rpartition("/")[2].startswith("vmlinux"):
            dso.is_kernel = True
            self._kernel = self._kernel or dso

    def find_or_add(self, name: str, id: FileId = _ANY_FILE) -> LoadedDso:
        """Return the file of that path, another one where the path stood for several.

        What is not known of a FileId fits any, and so does a generation of 0.
        """
        known = self._any.get(name)
        if not any(id):
            return known or self._add(name, id)
        if known is not None and not any(known.id):
            known.id = id
            self._by_id[(name, *id[:3])] = {id.generation: known}
            return known
        same = self._by_id.get((name, *id[:3]), {})
        if id.generation in same or 0 in same:
            return same.get(id.generation) or same[0]
        if same and not id.generation:
            return next(iter(same.values()))
        return self._add(name, id)

    def in_header(self, name: str) -> LoadedDso | None:
        """Return the one of a path that the recording's table tells the build id of."""
        return self._in_header.get(name)

    def find_short(self, short_name: str) -> LoadedDso | None:
        """Return the first that is called so."""
        return self._by_short_name.get(short_name)

    def module(self, path: str) -> LoadedDso:
        """Return the kernel module that a mapping names by path or "[name]"."""
        short_name = module_name(path)
        dso = self.find_short(short_name)
        if dso is None:
            dso = self.find_or_add(short_name)
            self.set_short_name(dso, short_name)
            dso.long_name = path
            dso.is_kernel = dso.is_module = True
        return dso

    def kernel(self) -> LoadedDso:
        """Return the kernel's image."""
        if self._kernel is None:
            self._kernel = self.find_or_add(KERNEL)
            self._kernel.is_kernel = True
        return self._kernel

    def set_short_name(self, dso: LoadedDso, short_name: str) -> None:
        """Call it so."""
        if self._by_short_name.get(dso.short_name) is dso:
            del self._by_short_name[dso.short_name]
        dso.short_name = short_name
        self._by_short_name.setdefault(short_name, dso)

    def _add(self, name: str, id: FileId) -> LoadedDso:
        dso = LoadedDso(name, name, _base_name(name), b"", id=id)
        self._any.setdefault(name, dso)
        if any(id):
            self._by_id.setdefault((name, *id[:3]), {})[id.generation] = dso
        self._by_short_name.setdefault(dso.short_name, dso)
        return dso


def module_name(path: str) -> str:
    """Return what perf calls a module, "[snd_hda]" for "/lib/modules/.../snd-hda.ko.xz"."""
    name = path.rpartition("/")[2]
    if name.startswith("["):
        return name
    module = _MODULE_FILE.match(name)
    return (f"[{module['name']}]" if module else name).replace("-", "_")


def is_module_name(path: str) -> bool:
    """Tell whether perf takes a path or "[name]" for a module of the kernel."""
    name = path.rpartition("/")[2]
    if name.startswith("["):
        return not name.startswith(_NAMED_IMAGES)
    return bool(_MODULE_FILE.match(name))


def _base_name(name: str) -> str:
    jit = PERF_MAP.match(name)
    return f"[JIT] tid {jit[1]}" if jit else PurePosixPath(name).name or name
