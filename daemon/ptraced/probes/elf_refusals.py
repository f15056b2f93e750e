"""Why a file has no function of a name, and which it has instead."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from ptraced.diagnostics import nearest, printable
from ptraced.errors import NotFound, TraceError
from ptraced.probes.elf_answer import Refused
from ptraced.probes.elf_image import Image
from ptraced.probes.elf_names import last_word, plain
from ptraced.probes.elf_symbols import FUNC, IFUNC, MANGLED, OBJECT, Symbol

_LISTED = 6
# Names that are compared with a misspelt one; each takes 10 us.
_COMPARED = 5000
_DEMANGLED = 2000
_LENGTHS_APART = 3


def unknown(
    image: Image,
    name: str,
    symbols: Sequence[Symbol],
    known: Sequence[Symbol],
    demangle: Callable[[str], str],
) -> Refused:
    """No function is called `name`."""
    shown = f"'{printable(name)}'"
    file = f"'{image.shown}'"
    same = [symbol for symbol in symbols if symbol.name == name]
    if any(symbol.type == IFUNC for symbol in same):
        found = _listed([s.name for s in known if f"_{name}_" in f"{s.name}_" and s.name != name])
        advice = found or "its debug symbols, when installed, name them"
        return Refused(
            TraceError,
            f"{shown} of {file} stands for several functions, one of which is chosen when a "
            f"program starts (IFUNC): {advice}",
        )
    if any(symbol.defined and symbol.type == OBJECT for symbol in same):
        return Refused(TraceError, f"{shown} of {file} is data, not a function")
    if any(symbol.defined for symbol in same):
        return Refused(TraceError, f"{shown} of {file} is not known to be a function")
    if same:
        return Refused(NotFound, f"{shown} is not in {file}, only called by it{_libraries(image)}")
    parts = _listed([symbol.name for symbol in known if symbol.name.startswith(f"{name}.")])
    if parts:
        return Refused(
            NotFound, f"the compiler has left of {shown} in {file} only parts or copies: {parts}"
        )
    advice = nearest(name, _demangled(name, known, demangle)) if "::" in name else ""
    return Refused(
        NotFound, f"no function {shown} in {file}{advice or _advice(image, name, known)}"
    )


def ambiguous(
    image: Image, name: str, found: Sequence[Symbol], demangle: Callable[[str], str]
) -> Refused:
    """Several functions are called `name`."""
    listed = _listed([f"{demangle(symbol.name)} at {symbol.address:#x}" for symbol in found])
    return Refused(
        TraceError,
        f"'{printable(name)}' is {len(found)} functions of '{image.shown}', an address or full "
        f"name selects one: {listed}",
    )


def _advice(image: Image, name: str, known: Sequence[Symbol]) -> str:
    suggestion = nearest(name, _similar(name, known))
    if suggestion or not image.is_stripped:
        return suggestion
    if not any(symbol.type == FUNC for symbol in known):
        return ": it is stripped of its symbols; an address, or its debug symbols, would do"
    return ": it is stripped, only what it exports has names; an address would do"


def _similar(name: str, known: Sequence[Symbol]) -> list[str]:
    bare = name.lstrip("_")[:1]
    names = {
        symbol.name
        for symbol in known
        if abs(len(symbol.name) - len(name)) <= _LENGTHS_APART
        and (symbol.name.lstrip("_")[:1] == bare or len(known) < _COMPARED)
    }
    return sorted(names)[:_COMPARED]


def _demangled(name: str, known: Sequence[Symbol], demangle: Callable[[str], str]) -> Iterable[str]:
    """Names of C++ and Rust functions: of those with the same last word, if there are any."""
    word = last_word(name)
    mangled = [symbol.name for symbol in known if symbol.name.startswith(MANGLED)]
    alike = [name for name in mangled if word in name] or mangled
    return (plain(demangle(name)) for name in alike[:_DEMANGLED])


def _libraries(image: Image) -> str:
    dynamic = image.section(".dynamic")
    if dynamic is None or not hasattr(dynamic, "iter_tags"):
        return ""
    needed = [tag.needed for tag in dynamic.iter_tags("DT_NEEDED")]
    return f"; it may be in {_listed(needed)}" if needed else ""


def _listed(names: Sequence[str]) -> str:
    unique = list(dict.fromkeys(printable(name) for name in names))
    more = f" and {len(unique) - _LISTED} more" if len(unique) > _LISTED else ""
    return ", ".join(unique[:_LISTED]) + more
