"""The syntax of filters: text in, a tree of what stands where out; nothing is looked up yet."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Never

from lark import Lark, Token, Transformer, UnexpectedCharacters, UnexpectedInput, UnexpectedToken
from lark.visitors import v_args

from ptraced.diagnostics import printable

# Deeper ones would overflow our own stack or that of the compiler.
_DEPTH_MAX = 64


class FilterError(Exception):
    """Something is wrong with text[start:end] of a filter."""

    def __init__(self, message: str, start: int, end: int) -> None:
        super().__init__(message)
        self.message = message
        self.start = start
        self.end = end


@dataclass(frozen=True, slots=True)
class Syntax:
    """A node of the syntax tree, from text[start:end].

    `kind` names a leaf ("number", "string", "name", "member", "cpus") or is the operator:
    "?:", "||" and "&&" (two operands or more), "binary" or "unary"; `text` is the leaf as
    typed or the operator's spelling.
    """

    kind: str
    text: str
    start: int
    end: int
    operands: tuple[Syntax, ...] = ()
    depth: int = 1


def names(syntax: Syntax) -> Iterator[Syntax]:
    """Yield the leaves that name a field, or what every event has."""
    if syntax.kind in ("name", "member"):
        yield syntax
    for operand in syntax.operands:
        yield from names(operand)


def parse_syntax(text: str) -> Syntax:
    """Parse the text of a filter; raises FilterError."""
    try:
        # The grammar's one result is what the builder made of the whole text.
        tree: object = _parser().parse(text)
    except UnexpectedInput as error:
        _refuse(text, error)
    assert isinstance(tree, Syntax)
    return tree


@lru_cache(maxsize=1)
def _parser() -> Lark:
    return Lark.open_from_package(
        "ptraced", "filter.lark", parser="lalr", maybe_placeholders=False, transformer=_Builder()
    )


@v_args(inline=True)
class _Builder(Transformer[Token, Syntax]):
    """Makes nodes while the parser runs, so that no recursion depends on the text."""

    def choice(self, *operands: Syntax) -> Syntax:
        return _node("?:", "?:", operands)

    def any(self, *operands: Syntax) -> Syntax:
        return _node("||", "||", operands)

    def all(self, *operands: Syntax) -> Syntax:
        return _node("&&", "&&", operands)

    def binary(self, left: Syntax, operator: Token, right: Syntax) -> Syntax:
        return _node("binary", str(operator), (left, right))

    def unary(self, operator: Token, operand: Syntax) -> Syntax:
        return _node("unary", str(operator), (operand,), _span(operator)[0])

    def number(self, token: Token) -> Syntax:
        return Syntax("number", str(token), *_span(token))

    def string(self, token: Token) -> Syntax:
        return Syntax("string", str(token), *_span(token))

    def cpus(self, token: Token) -> Syntax:
        return Syntax("cpus", str(token), *_span(token))

    def name(self, token: Token) -> Syntax:
        return Syntax("name", str(token), *_span(token))

    def member(self, name: Token, member: Token) -> Syntax:
        return Syntax("member", f"{name}{member}", _span(name)[0], _span(member)[1])


def _span(token: Token) -> tuple[int, int]:
    start = token.start_pos or 0
    return start, start + len(token)


def _node(kind: str, text: str, operands: tuple[Syntax, ...], start: int | None = None) -> Syntax:
    first = operands[0].start if start is None else start
    depth = 1 + max(operand.depth for operand in operands)
    if depth > _DEPTH_MAX:
        raise FilterError(
            f"this filter is nested too deep, at most {_DEPTH_MAX} levels",
            first,
            operands[-1].end,
        )
    return Syntax(kind, text, first, operands[-1].end, operands, depth)


def _refuse(text: str, error: UnexpectedInput) -> Never:
    start = error.pos_in_stream or 0
    length = 1
    if isinstance(error, UnexpectedToken):
        if error.token.type == "$END":
            raise FilterError("the filter ends too early", len(text), len(text)) from None
        length = len(error.token)
    found = text[start : start + length]
    if isinstance(error, UnexpectedCharacters) and found in "\"'":
        raise FilterError("this quote is not closed", start, len(text)) from None
    hint = ": equality is '=='" if found == "=" else ""
    raise FilterError(
        f"unexpected '{printable(found)}' in a filter{hint}", start, start + length
    ) from None
