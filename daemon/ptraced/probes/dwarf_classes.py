"""Whether a C++ class is passed by its address: the Itanium C++ ABI, 3.1.2.3.

It is where copying, moving or destroying one takes code. GCC does not say so, and what it
says of the class's functions has to tell.
"""

from __future__ import annotations

from elftools.dwarf.die import DIE

from ptraced.probes.dwarf_dies import (
    STRUCTURES,
    UnknownType,
    attribute,
    bare_type,
    name_of,
    type_of,
)

_DEPTH_MAX = 8
_CHILDREN_MAX = 5000
# DW_CC_pass_by_reference and _value, of clang; DW_DEFAULTED_in_class.
_BY_REFERENCE, _BY_VALUE = 4, 5
_IN_CLASS = 1
_REFERENCES = ("DW_TAG_reference_type", "DW_TAG_rvalue_reference_type")


def is_passed_by_address(die: DIE, depth: int = 0) -> bool:
    """What `die`, a class, needs; raises UnknownType where it cannot be told."""
    convention = attribute(die, "DW_AT_calling_convention")
    if convention in (_BY_REFERENCE, _BY_VALUE):
        return convention == _BY_REFERENCE
    if depth > _DEPTH_MAX or "DW_AT_declaration" in die.attributes:
        raise UnknownType("a class that is not described")
    name = name_of(die).partition("<")[0]
    for count, child in enumerate(die.iter_children()):
        if count > _CHILDREN_MAX:
            raise UnknownType("a class with too many members")
        if child.tag == "DW_TAG_subprogram":
            if _takes_code(child, die, name):
                return True
        elif child.tag in ("DW_TAG_member", "DW_TAG_inheritance") and (
            attribute(child, "DW_AT_virtuality") or _holds_one_that_needs(child, depth)
        ):
            return True
    return False


def _takes_code(function: DIE, owner: DIE, name: str) -> bool:
    """Whether a member function is one for which values cannot be copied as bytes."""
    if attribute(function, "DW_AT_virtuality"):
        return True
    own = name_of(function)
    if not name or (own != f"~{name}" and not (own == name and _copies(function, owner))):
        return False
    if "DW_AT_deleted" in function.attributes:
        raise UnknownType("a class that cannot be copied, or only be moved")
    return attribute(function, "DW_AT_defaulted") != _IN_CLASS


def _copies(function: DIE, owner: DIE) -> bool:
    """Whether a constructor takes another object of its class."""
    taken = [
        child
        for child in function.iter_children()
        if child.tag == "DW_TAG_formal_parameter" and "DW_AT_artificial" not in child.attributes
    ]
    if len(taken) != 1:
        return False
    reference = type_of(taken[0])
    if reference is None or reference.tag not in _REFERENCES:
        return False
    pointed = type_of(reference)
    return pointed is not None and bare_type(pointed).offset == owner.offset


def _holds_one_that_needs(member: DIE, depth: int) -> bool:
    if "DW_AT_external" in member.attributes or "DW_AT_declaration" in member.attributes:
        # A static member is not in the object.
        return False
    inner = type_of(member)
    if inner is None:
        return False
    bare = bare_type(inner)
    if bare.tag == "DW_TAG_array_type":
        element = type_of(bare)
        if element is None:
            return False
        bare = bare_type(element)
    return bare.tag in STRUCTURES and is_passed_by_address(bare, depth + 1)
