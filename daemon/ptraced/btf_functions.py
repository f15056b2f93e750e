"""Parameters and return types of kernel functions, from the BTF of the kernel and its modules.

A module's blob continues the kernel's: its types and strings count on from the last of those
(Documentation/bpf/btf.rst, "BTF_KIND_*" and libbpf's btf__new_split).
"""

from __future__ import annotations

from array import array
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from ptraced.btf_types import FUNC, TYPE_BYTES, Type, strings, strings_size, type_at, types
from ptraced.btf_values import Types, Value, signature
from ptraced.errors import Unavailable

_DIRECTORY = Path("/sys/kernel/btf")
_KERNEL = "vmlinux"
# So many names are searched for one by one; for more of them all strings are looked at.
_SEARCHED_MAX = 8


@dataclass(frozen=True, slots=True)
class Prototype:
    """What a function takes and gives; `returned` is None for void."""

    parameters: tuple[Value, ...]
    returned: Value | None


@dataclass(frozen=True, slots=True)
class _Index:
    """Where the types of a blob start; which of them are functions (from 0), and their names."""

    starts: array[int]
    functions: array[int]
    names: array[int]


class _Blob(Types):
    """The types of the kernel, or of a module, for which `base` is the kernel's."""

    def __init__(self, path: Path, base: _Blob | None) -> None:
        status = path.stat()
        self.data = path.read_bytes()
        identity = (status.st_ino, status.st_mtime_ns, len(self.data))
        self.index = _indexed(str(path), identity)
        self._base = base
        self._first = base.last + 1 if base else 1
        self._strings = strings(self.data)
        self._strings_before = base.strings_end if base else 0
        self.strings_end: int = self._strings_before + strings_size(self.data)

    @property
    def last(self) -> int:
        """The highest id of a type."""
        return self._first + len(self.index.starts) - 1

    def type(self, id: int) -> Type:
        if self._base is not None and id < self._first:
            return self._base.type(id)
        if not self._first <= id <= self.last:
            raise ValueError(f"BTF has no type {id}")
        return type_at(self.data, self.index.starts[id - self._first])

    def members(self, id: int) -> tuple[bytes, int]:
        if self._base is not None and id < self._first:
            return self._base.members(id)
        return self.data, self.index.starts[id - self._first] + TYPE_BYTES

    def text(self, name: int) -> str:
        if self._base is not None and name < self._strings_before:
            return self._base.text(name)
        start = self._strings + name - self._strings_before
        return self.data[start : self.data.index(b"\0", start)].decode(errors="replace")

    def functions(self, wanted: Collection[str]) -> dict[str, list[int]]:
        """The ids of the prototypes that functions of these names have."""
        offsets = self._names({name.encode(): name for name in wanted})
        found: dict[str, list[int]] = {}
        for position, offset in zip(self.index.functions, self.index.names, strict=True):
            if offset in offsets:
                type = type_at(self.data, self.index.starts[position])
                found.setdefault(offsets[offset], []).append(type.link)
        return found

    def _names(self, wanted: Mapping[bytes, str]) -> dict[int, str]:
        """Those of the wanted texts that there are, by their numbers."""
        found = {} if self._base is None else self._base._names(wanted)
        size = self.strings_end - self._strings_before
        # The section of a module does not begin with the empty text.
        section = b"\0" + self.data[self._strings : self._strings + size]
        if len(wanted) <= _SEARCHED_MAX:
            for text, name in wanted.items():
                at = section.find(b"\0" + text + b"\0")
                if at >= 0:
                    found[at + self._strings_before] = name
            return found
        at = self._strings_before - 1
        for text in section.split(b"\0"):
            if text in wanted:
                found[at] = wanted[text]
            at += len(text) + 1
        return found


def prototypes(names: Collection[str], module: str = "") -> Mapping[str, Prototype]:
    """Return the prototypes of the functions that have one, by name.

    `module` is the kernel module that the functions belong to. Functions of one name that
    differ are left out, as are all where there is no BTF. Takes about 0.1 s the first time,
    0.03 s after that. Raises Unavailable for BTF that cannot be read.
    """
    path = _DIRECTORY / _KERNEL
    try:
        blob = _Blob(path, None)
        if module:
            path = _DIRECTORY / module
            blob = _Blob(path, blob)
        found = {
            name: {_prototype(blob, id) for id in ids}
            for name, ids in blob.functions(frozenset(names)).items()
        }
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise Unavailable(f"error: cannot read the kernel's BTF in {path}: {error}") from None
    return {name: alike.pop() for name, alike in found.items() if len(alike) == 1}


def _prototype(blob: _Blob, id: int) -> Prototype:
    return Prototype(*signature(blob, id))


@lru_cache(maxsize=16)
def _indexed(path: str, identity: tuple[int, int, int]) -> _Index:
    """The index of a file that has not changed since it was `identity`."""
    data = Path(path).read_bytes()
    starts, functions, names = array("I"), array("I"), array("I")
    for position, type in enumerate(types(data)):
        starts.append(type.members - TYPE_BYTES)
        if type.kind == FUNC:
            functions.append(position)
            names.append(type.name)
    return _Index(starts, functions, names)
