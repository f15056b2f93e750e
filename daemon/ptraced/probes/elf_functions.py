"""From what a user calls a function of a file to its address: names, addresses, globs."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fnmatch import translate

from ptraced.diagnostics import printable
from ptraced.errors import LimitExceeded, NotFound, TraceError
from ptraced.numbers import number
from ptraced.probes import elf_instructions, elf_refusals
from ptraced.probes.elf_answer import Refused
from ptraced.probes.elf_image import Image
from ptraced.probes.elf_names import compact, last_word, plain, spellings, words_of_glob
from ptraced.probes.elf_symbols import IFUNC, MANGLED, Symbol, functions, read_symbols
from ptraced.probes.elf_unwind import UnwindTable
from ptraced.symbols.demangle import Demangler

_GLOB = re.compile(r"[*?[]")
_ADDRESS = re.compile(r"0[xX][0-9a-fA-F]{1,16}")
_OFFSET = re.compile(r"(?P<name>.+)\+(?P<offset>0[xX][0-9a-fA-F]{1,16}|[0-9]{1,18})", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Function:
    """A place in a function: `address` is `start` + `inside`; `symbol` is the linker's name."""

    name: str
    symbol: str
    start: int
    inside: int
    local: bool

    @property
    def address(self) -> int:
        return self.start + self.inside


class Functions:
    """The functions of an image."""

    def __init__(self, image: Image) -> None:
        self.image = image
        self.unwind = UnwindTable(image)
        self.symbols = read_symbols(image)
        self.known = list(functions(self.symbols, image, self.unwind))
        self._demangle = Demangler().demangle

    def find(self, target: str, most: int) -> list[Function]:
        """The functions that a target means, sorted by name; raises Refused."""
        if _ADDRESS.fullmatch(target):
            return [self._at_address(target)]
        found = self._named(target)
        if found:
            return [_function(target, self._one(found, target))]
        split = _OFFSET.fullmatch(target)
        if split:
            found = self._named(split["name"])
            if found:
                symbol = self._one(found, split["name"])
                return [self._inside(target, symbol, number(split["offset"]))]
        if _GLOB.search(target):
            return self._matching(target, most)
        raise elf_refusals.unknown(
            self.image, split["name"] if split else target, self.symbols, self.known, self._demangle
        )

    def _named(self, name: str) -> list[Symbol]:
        """Functions of that name at different addresses; the version that is linked to first."""
        if any(s.name == name and s.type == IFUNC and not s.hidden for s in self.symbols):
            return []
        found = [symbol for symbol in self.known if symbol.name == name]
        if not found:
            wanted = compact(name)
            found = [
                symbol
                for symbol in self._mangled(name)
                if wanted in spellings(self._demangle(symbol.name))
            ]
        current = [symbol for symbol in found if not symbol.hidden] or found
        return list({symbol.address: symbol for symbol in current}.values())

    def _mangled(self, name: str) -> Iterable[Symbol]:
        """Symbols that may be a C++ or Rust function: those with its last word in them."""
        word = last_word(name)
        return (s for s in self.known if s.name.startswith(MANGLED) and word in s.name)

    def _one(self, found: list[Symbol], name: str) -> Symbol:
        if len(found) > 1:
            raise elf_refusals.ambiguous(self.image, name, found, self._demangle)
        return found[0]

    def _at_address(self, target: str) -> Function:
        address = int(target, 16)
        if self.image.file_offset(address) is None:
            raise Refused(
                TraceError,
                f"{target} is not in the code of '{self.image.shown}'; addresses are those of "
                "the file, which nm and objdump show",
            )
        for symbol in self.known:
            if symbol.address == address:
                return Function(target, symbol.name, address, 0, symbol.local)
        for symbol in self.known:
            if symbol.address < address < symbol.address + symbol.size:
                return self._checked(target, symbol, address - symbol.address)
        extent = self.unwind.containing(address)
        if extent is None:
            raise Refused(
                TraceError,
                f"nothing tells which function {target} of '{self.image.shown}' is in, and so "
                "whether an instruction starts there",
            )
        start, end = extent
        return self._checked(
            target, Symbol("", start, end - start, 0, False, True, False), address - start
        )

    def _inside(self, target: str, symbol: Symbol, inside: int) -> Function:
        if not inside:
            return _function(target, symbol)
        size = symbol.size
        if not size:
            extent = self.unwind.containing(symbol.address)
            size = extent[1] - symbol.address if extent else 0
        if inside >= size:
            raise Refused(
                TraceError,
                f"'{printable(symbol.name)}' has {size} bytes, there is no +{inside:#x} in it",
            )
        return self._checked(target, symbol, inside)

    def _checked(self, target: str, symbol: Symbol, inside: int) -> Function:
        """Refuse a place that is not the start of an instruction."""
        address = symbol.address + inside
        instruction = elf_instructions.around(self.image, symbol.address, address)
        if instruction is None:
            raise Refused(
                TraceError, f"whether an instruction starts at '{printable(target)}' is unknown"
            )
        if instruction[0] != address:
            before, after = (place - symbol.address for place in instruction)
            raise Refused(
                TraceError,
                f"'{printable(target)}' is inside of an instruction; the nearest ones start at "
                f"+{before:#x} and +{after:#x} of the function",
            )
        return _function(target, symbol, inside)

    def _spelt(self, matches: Callable[[str], object], symbol: Symbol) -> bool:
        return any(matches(spelling) for spelling in spellings(self._demangle(symbol.name)))

    def _matching(self, glob: str, most: int) -> list[Function]:
        """A function per address, by the name that is most likely its public one."""
        matches = re.compile(translate(compact(glob))).match
        words = words_of_glob(glob)
        by_address: dict[int, tuple[tuple[bool, int, int, str], Symbol]] = {}
        for symbol in self.known:
            if symbol.hidden or not symbol.name.isprintable():
                continue
            if not matches(symbol.name) and not (
                "::" in glob
                and symbol.name.startswith(MANGLED)
                and all(word in symbol.name for word in words)
                and self._spelt(matches, symbol)
            ):
                continue
            underscores = len(symbol.name) - len(symbol.name.lstrip("_"))
            rank = (symbol.local, underscores, len(symbol.name), symbol.name)
            known = by_address.get(symbol.address)
            if known is None or rank < known[0]:
                by_address[symbol.address] = rank, symbol
        if not by_address:
            raise Refused(
                NotFound, f"no functions of '{self.image.shown}' match '{printable(glob)}'"
            )
        if len(by_address) > most:
            raise Refused(
                LimitExceeded,
                f"'{printable(glob)}' matches {len(by_address)} functions of "
                f"'{self.image.shown}', at most {most} may be selected",
            )
        return self._with_names([symbol for _, symbol in by_address.values()])

    def _with_names(self, symbols: list[Symbol]) -> list[Function]:
        """Functions by C++ and Rust names where each is another's, sorted by name."""
        names = [
            plain(self._demangle(symbol.name)) if symbol.name.startswith(MANGLED) else symbol.name
            for symbol in symbols
        ]
        count = Counter(names)
        found = [
            _function(name if count[name] == 1 and name.isprintable() else symbol.name, symbol)
            for name, symbol in zip(names, symbols, strict=True)
        ]
        return sorted(found, key=lambda function: (function.name, function.start))


def _function(name: str, symbol: Symbol, inside: int = 0) -> Function:
    return Function(name, symbol.name, symbol.address, inside, symbol.local)
