"""C, C++ and Rust types as DWARF describes them, as far as arguments of functions need it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from elftools.dwarf.die import DIE

# Deeper chains of types are not followed.
_DEPTH_MAX = 32
# Members of a structure that are looked at: it is passed in registers up to 16 bytes.
_MEMBERS_MAX = 64
_POINTERS = {
    "DW_TAG_pointer_type": "*",
    "DW_TAG_reference_type": "&",
    "DW_TAG_rvalue_reference_type": "&&",
}
_QUALIFIERS = {
    "DW_TAG_const_type": "const ",
    "DW_TAG_volatile_type": "volatile ",
    "DW_TAG_restrict_type": "",
    "DW_TAG_atomic_type": "_Atomic ",
    "DW_TAG_immutable_type": "",
}
_STRUCTURES = {
    "DW_TAG_structure_type": "struct ",
    "DW_TAG_class_type": "",
    "DW_TAG_union_type": "union ",
}
# DW_ATE_*: boolean, signed, signed_char, float, complex_float, unsigned and character ones.
_BOOLEAN, _COMPLEX, _FLOAT = 2, 3, 4
_SIGNED = (5, 6)
_UNSIGNED = (1, 7, 8, 0x10)
# DW_CC_pass_by_reference
_BY_REFERENCE, _BY_VALUE = 4, 5
_CPP = {4, 0x1A, 0x21, 0x2B, 0x3A}
RUST = 0x1C
_C = {1, 2, 0xC, 0x1D, 0x2C, 0x3E}
LANGUAGES = _C | _CPP | {RUST}


class UnknownType(Exception):
    """How a value of this type is passed is not known."""


@dataclass(frozen=True, slots=True)
class Scalar:
    """An integer, enum or pointer of 1, 2, 4 or 8 bytes; `kind` as in elf_answer.Argument."""

    ctype: str
    kind: str
    size: int


@dataclass(frozen=True, slots=True)
class Passed:
    """Something else, by how it is passed.

    `words` are the classes of its 8-byte words, "integer" or "float", none for what is
    empty; None where it is in memory. `size` and `alignment` are in bytes.
    """

    size: int
    words: tuple[str, ...] | None
    alignment: int = 8
    floats_only: bool = False


def attribute(die: DIE, name: str) -> object:
    """The value of an attribute, its own or that of what it is an instance of; None without."""
    for _ in range(_DEPTH_MAX):
        if name in die.attributes:
            return die.attributes[name].value
        for link in ("DW_AT_abstract_origin", "DW_AT_specification"):
            if link in die.attributes:
                die = die.get_DIE_from_attribute(link)
                break
        else:
            return None
    return None


def type_of(die: DIE) -> DIE | None:
    """The type of a function's value or of a variable; None for void."""
    for _ in range(_DEPTH_MAX):
        if "DW_AT_type" in die.attributes:
            return die.get_DIE_from_attribute("DW_AT_type")
        for link in ("DW_AT_abstract_origin", "DW_AT_specification"):
            if link in die.attributes:
                die = die.get_DIE_from_attribute(link)
                break
        else:
            return None
    return None


def name_of(die: DIE) -> str:
    name = attribute(die, "DW_AT_name")
    return name.decode(errors="replace") if isinstance(name, bytes) else ""


def language(die: DIE) -> int:
    value = die.cu.get_top_DIE().attributes.get("DW_AT_language")
    return int(value.value) if value else 0


def describe(die: DIE) -> Scalar | Passed:
    """How a value of a type is passed; raises UnknownType."""
    ctype = spelling(die)
    bare = _bare(die)
    size = _number(bare, "DW_AT_byte_size")
    if bare.tag in _POINTERS or bare.tag == "DW_TAG_unspecified_type":
        return Scalar(ctype, "pointer", 8)
    if bare.tag == "DW_TAG_ptr_to_member_type":
        return _member_pointer(bare)
    if bare.tag == "DW_TAG_enumeration_type":
        return _enumeration(bare, ctype, size)
    if bare.tag == "DW_TAG_base_type":
        return _base(bare, ctype, size)
    if bare.tag in _STRUCTURES:
        return _structure(bare, size)
    raise UnknownType(bare.tag)


def spelling(die: DIE | None, depth: int = 0) -> str:
    """A type as C writes it."""
    if die is None:
        return "void"
    if depth > _DEPTH_MAX:
        raise UnknownType("a type without end")
    if die.tag in _POINTERS:
        inner = type_of(die)
        if inner is not None and inner.tag == "DW_TAG_subroutine_type":
            return f"{spelling(type_of(inner), depth + 1)} (*)()"
        base = spelling(inner, depth + 1)
        return f"{base}{'' if base.endswith('*') else ' '}{_POINTERS[die.tag]}"
    if die.tag in _QUALIFIERS:
        inner = type_of(die)
        text = spelling(inner, depth + 1)
        # A constant pointer, not a pointer to a constant, is nothing to a reader of values.
        return text if text.endswith(("*", "&")) else _QUALIFIERS[die.tag] + text
    name = name_of(die)
    if language(die) in _C:
        prefix = _STRUCTURES.get(str(die.tag), "")
        prefix = "enum " if die.tag == "DW_TAG_enumeration_type" else prefix
        return f"{prefix}{name}".rstrip()
    return name


def _bare(die: DIE) -> DIE:
    """A type without typedefs and qualifiers."""
    for _ in range(_DEPTH_MAX):
        if die.tag not in _QUALIFIERS and die.tag != "DW_TAG_typedef":
            return die
        inner = type_of(die)
        if inner is None:
            raise UnknownType("void")
        die = inner
    raise UnknownType("a type without end")


def _number(die: DIE, name: str) -> int:
    value = attribute(die, name)
    return value if isinstance(value, int) else 0


def _base(die: DIE, ctype: str, size: int) -> Scalar | Passed:
    encoding = _number(die, "DW_AT_encoding")
    if size in (1, 2, 4, 8) and encoding in (_BOOLEAN, *_SIGNED, *_UNSIGNED):
        kind = "signed" if encoding in _SIGNED else "unsigned"
        return Scalar(ctype, "bool" if encoding == _BOOLEAN and size == 1 else kind, size)
    if size == 16 and encoding in (*_SIGNED, *_UNSIGNED):
        return Passed(16, ("integer", "integer"), 16)
    if encoding == _FLOAT and size in (2, 4, 8):
        return Passed(size, ("float",), size, floats_only=True)
    if encoding == _FLOAT and size == 16 and name_of(die) == "long double":
        # x87's; elsewhere it is a float of 128 bits, in one register.
        return Passed(16, None, 16)
    if encoding == _COMPLEX and size in (8, 16):
        return Passed(size, ("float",) * (size // 8), 8, floats_only=True)
    if size == 0:
        return Passed(0, (), 1)
    raise UnknownType(ctype)


def _enumeration(die: DIE, ctype: str, size: int) -> Scalar:
    under = type_of(die)
    signed = under is not None and _number(_bare(under), "DW_AT_encoding") in _SIGNED
    if size not in (1, 2, 4, 8):
        raise UnknownType(ctype)
    return Scalar(ctype, "signed" if signed else "unsigned", size)


def _member_pointer(die: DIE) -> Scalar | Passed:
    pointed = type_of(die)
    if pointed is not None and pointed.tag == "DW_TAG_subroutine_type":
        return Passed(16, ("integer", "integer"))
    return Scalar("ptrdiff_t", "signed", 8)


def _structure(die: DIE, size: int) -> Passed:
    """The rule of the System V ABI, 3.2.3; of AAPCS64 the caller knows what differs."""
    spoken = language(die)
    if spoken in _CPP:
        convention = _number(die, "DW_AT_calling_convention")
        if convention == _BY_REFERENCE:
            return Passed(8, ("integer",))
        if convention != _BY_VALUE:
            raise UnknownType("a class that may be passed by reference")
    elif spoken == RUST and size:
        raise UnknownType("Rust's own rules, which change")
    if "DW_AT_declaration" in die.attributes:
        raise UnknownType("a structure that is only declared")
    words = ["none"] * ((size + 7) // 8)
    alignment = 1
    floats = True
    for offset, member_size, kind in _leaves(die, 0, 0):
        alignment = max(alignment, member_size)
        floats = floats and kind == "float"
        if offset % member_size or offset + member_size > size:
            return Passed(size, None, 8)
        if size > 16:
            continue
        for word in range(offset // 8, (offset + member_size - 1) // 8 + 1):
            words[word] = "integer" if "integer" in (kind, words[word]) else "float"
    if size > 16:
        return Passed(size, None, max(8, alignment), floats)
    return Passed(size, tuple(word for word in words if word != "none"), max(8, alignment), floats)


def _leaves(die: DIE, base: int, depth: int) -> Iterator[tuple[int, int, str]]:
    """Offset, size and class of each number in a structure."""
    if depth > 8:
        raise UnknownType("a structure too deep")
    for count, child in enumerate(die.iter_children()):
        if count > _MEMBERS_MAX:
            raise UnknownType("a structure with many members")
        if child.tag not in ("DW_TAG_member", "DW_TAG_inheritance"):
            continue
        if "DW_AT_external" in child.attributes or "DW_AT_declaration" in child.attributes:
            continue
        if child.tag == "DW_TAG_inheritance" and "DW_AT_virtuality" in child.attributes:
            raise UnknownType("a virtual base")
        bits = child.attributes.get("DW_AT_data_bit_offset")
        if bits or "DW_AT_bit_size" in child.attributes:
            at = bits.value // 8 if bits else _number(child, "DW_AT_data_member_location")
            yield base + at, 1, "integer"
            continue
        inner = type_of(child)
        if inner is not None:
            offset = base + _number(child, "DW_AT_data_member_location")
            yield from _of_type(_bare(inner), offset, depth)


def _of_type(die: DIE, offset: int, depth: int) -> Iterator[tuple[int, int, str]]:
    if die.tag in _STRUCTURES:
        yield from _leaves(die, offset, depth + 1)
        return
    if die.tag == "DW_TAG_array_type":
        yield from _elements(die, offset, depth)
        return
    found = describe(die)
    if isinstance(found, Scalar):
        yield offset, found.size, "integer"
    elif found.words is None:
        raise UnknownType("a long double inside")
    else:
        part = found.size // max(len(found.words), 1)
        for number, kind in enumerate(found.words):
            yield offset + number * part, part, kind


def _elements(die: DIE, offset: int, depth: int) -> Iterator[tuple[int, int, str]]:
    if "DW_AT_GNU_vector" in die.attributes:
        raise UnknownType("a vector")
    element = type_of(die)
    count = 1
    for child in die.iter_children():
        if child.tag == "DW_TAG_subrange_type":
            if "DW_AT_count" in child.attributes:
                count *= _number(child, "DW_AT_count")
            else:
                count *= _number(child, "DW_AT_upper_bound") + 1
    if element is None or not 0 <= count <= _MEMBERS_MAX:
        raise UnknownType("a large array")
    bare = _bare(element)
    size = _number(bare, "DW_AT_byte_size") or 8
    for number in range(count):
        yield from _of_type(bare, offset + number * size, depth + 1)
