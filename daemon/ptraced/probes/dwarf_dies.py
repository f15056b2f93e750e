"""What DWARF says of a type or function in one word: its name, its type, its language."""

from __future__ import annotations

from elftools.dwarf.die import DIE

# Longer chains of types are not followed.
_DEPTH_MAX = 32
POINTERS = {
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
STRUCTURES = {
    "DW_TAG_structure_type": "struct ",
    "DW_TAG_class_type": "",
    "DW_TAG_union_type": "union ",
}
# DW_LANG_*
CPP = {4, 0x1A, 0x21, 0x2B, 0x3A}
RUST = 0x1C
_C = {1, 2, 0xC, 0x1D, 0x2C, 0x3E}
LANGUAGES = _C | CPP | {RUST}


class UnknownType(Exception):
    """How a value of this type is passed is not known."""


def attribute(die: DIE, name: str) -> object:
    """The value of an attribute, its own or that of what it is an instance of; None without."""
    owner = _owner(die, name)
    return owner.attributes[name].value if owner is not None else None


def type_of(die: DIE) -> DIE | None:
    """The type of a function's value or of a variable; None for void."""
    owner = _owner(die, "DW_AT_type")
    return owner.get_DIE_from_attribute("DW_AT_type") if owner is not None else None


def _owner(die: DIE, name: str) -> DIE | None:
    """The entry that has an attribute: itself, or what it is an instance of."""
    for _ in range(_DEPTH_MAX):
        if name in die.attributes:
            return die
        for link in ("DW_AT_abstract_origin", "DW_AT_specification"):
            if link in die.attributes:
                die = die.get_DIE_from_attribute(link)
                break
        else:
            return None
    return None
    return None


def name_of(die: DIE) -> str:
    name = attribute(die, "DW_AT_name")
    return name.decode(errors="replace") if isinstance(name, bytes) else ""


def language(die: DIE) -> int:
    value = die.cu.get_top_DIE().attributes.get("DW_AT_language")
    return int(value.value) if value else 0


def number(die: DIE, name: str) -> int:
    value = attribute(die, name)
    return value if isinstance(value, int) else 0


def spelling(die: DIE | None, depth: int = 0) -> str:
    """A type as C writes it."""
    if die is None:
        return "void"
    if depth > _DEPTH_MAX:
        raise UnknownType("a type without end")
    if die.tag in POINTERS:
        inner = type_of(die)
        if inner is not None and inner.tag == "DW_TAG_subroutine_type":
            return f"{spelling(type_of(inner), depth + 1)} (*)()"
        base = spelling(inner, depth + 1)
        return f"{base}{'' if base.endswith('*') else ' '}{POINTERS[die.tag]}"
    if die.tag in _QUALIFIERS:
        inner = type_of(die)
        text = spelling(inner, depth + 1)
        # A constant pointer, not a pointer to a constant, is nothing to a reader of values.
        return text if text.endswith(("*", "&")) else _QUALIFIERS[die.tag] + text
    name = name_of(die)
    if language(die) in _C:
        prefix = STRUCTURES.get(str(die.tag), "")
        prefix = "enum " if die.tag == "DW_TAG_enumeration_type" else prefix
        return f"{prefix}{name}".rstrip()
    return name


def bare_type(die: DIE) -> DIE:
    """A type without typedefs and qualifiers."""
    for _ in range(_DEPTH_MAX):
        if die.tag not in _QUALIFIERS and die.tag != "DW_TAG_typedef":
            return die
        inner = type_of(die)
        if inner is None:
            raise UnknownType("void")
        die = inner
    raise UnknownType("a type without end")
