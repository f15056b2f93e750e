"""The ways in which a user may write the name of a C++ or Rust function."""

from __future__ import annotations

import re

# Parts of names that mangled ones abbreviate (Itanium C++ ABI, 5.1.10).
_ABBREVIATED = {"std", "allocator", "basic_string", "string", "istream", "ostream", "iostream"}
_NOT_ARGUMENTS = ("(anonymous namespace)", "operator()")


def spellings(demangled: str) -> set[str]:
    """A demangled name as it is, and without arguments, result and template arguments.

    Spaces are left out.

    >>> sorted(spellings("int ns::twice<int>(int)"))
    ['intns::twice<int>(int)', 'ns::twice', 'ns::twice<int>', 'ns::twice<int>(int)']
    """
    start, end = _name_span(demangled)
    name = demangled[start:end]
    found = {demangled, demangled[start:], name}
    # Of a template; "operator<" is none.
    if name.endswith(">") and "operator" not in name:
        found.add(name[: _opening(name)])
    return {compact(spelling) for spelling in found}


def compact(name: str) -> str:
    return "".join(name.split())


def plain(demangled: str) -> str:
    """A demangled name without arguments and result.

    >>> plain("int ns::twice<int>(int)")
    'ns::twice<int>'
    """
    return demangled[slice(*_name_span(demangled))]


def last_word(name: str) -> str:
    """The function's own name, which stands in its mangled name too; "" of operators.

    >>> last_word("ns::Shape::~Shape()")
    'Shape'
    """
    if "operator" in name:
        return ""
    bare = plain(name)
    return re.split(r"\W+", bare[: _opening(bare)] if bare.endswith(">") else bare)[-1]


def words_of_glob(glob: str) -> list[str]:
    """Words that stand in the mangled name of whatever a glob matches.

    >>> words_of_glob("ns::[ab]::Shape::area*")
    ['ns', 'Shape']
    """
    words = re.findall(r"(?:^|(?<=::))(\w+)(?=::)", glob)
    return [word for word in words if word not in _ABBREVIATED]


def _name_span(demangled: str) -> tuple[int, int]:
    """Where the name is: behind the result's type, before the arguments."""
    depth = 0
    start = at = 0
    while at < len(demangled):
        skipped = next((text for text in _NOT_ARGUMENTS if demangled.startswith(text, at)), "")
        if skipped:
            at += len(skipped)
            continue
        char = demangled[at]
        if demangled.startswith("operator", at) and depth == 0:
            # What follows may have '<', '>' and spaces: its name ends at the arguments.
            opening = demangled.find("(", at)
            return start, len(demangled) if opening < 0 else opening
        if char in "<[{":
            depth += 1
        elif char in ">]}":
            depth -= 1
        elif char == "(" and depth == 0:
            return start, at
        elif char == " " and depth == 0:
            start = at + 1
        at += 1
    # Without arguments there is no result either; Rust's "<impl a for b>::c" has no space outside.
    return 0, len(demangled)


def _opening(name: str) -> int:
    """Where the '<' is that the closing '>' at the end belongs to."""
    depth = 0
    for at in range(len(name) - 1, -1, -1):
        depth += (name[at] == ">") - (name[at] == "<")
        if depth == 0:
            return at
    return len(name)
