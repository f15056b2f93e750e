"""The syntax tree of a function, if its source can be had and is what really runs."""

from __future__ import annotations

import ast
import linecache
import types
import warnings
from collections.abc import Iterator
from functools import lru_cache

Definition = ast.FunctionDef | ast.Lambda


def definition(function: types.FunctionType) -> Definition | None:
    """Return where the function is defined, or None: decorated, in a class, or not to be found.

    The tree belongs to all callers: copy what is to be changed.
    """
    code = function.__code__
    # A file may have changed since it was loaded.
    linecache.checkcache(code.co_filename)
    lines = linecache.getlines(code.co_filename, function.__globals__)
    parsed = _parse("".join(lines))
    if parsed is None:
        return None
    tree, module = parsed
    # The line of a decorated function's code is that of its first decorator: no node is there.
    nodes = [
        node
        for node in _definitions(tree)
        if _name(node) == code.co_name and node.lineno == code.co_firstlineno
    ]
    if len(nodes) == 1:
        return nodes[0] if any(_same(other, code) for other in _codes(module, code)) else None
    # Lambdas of one line.
    return next((node for node in nodes if _alone_compiles_to(node, code)), None)


@lru_cache(maxsize=8)
def _parse(source: str) -> tuple[ast.Module, types.CodeType] | None:
    """Return a file as a tree and compiled.

    As a whole, since what a function compiles to depends on the rest: a method call on what
    the module imports is compiled unlike others, and `from __future__` changes much.
    """
    try:
        # Python has warned of what it does not like when it loaded the script.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(source)
            return tree, compile(tree, "", "exec", dont_inherit=True)
    except (SyntaxError, ValueError):
        return None


def _definitions(tree: ast.AST) -> Iterator[Definition]:
    for node in ast.iter_child_nodes(tree):
        # Classes mangle names: what stands in the source is not what is read.
        if isinstance(node, ast.ClassDef):
            continue
        if isinstance(node, Definition):
            yield node
        yield from _definitions(node)


def _name(node: Definition) -> str:
    return node.name if isinstance(node, ast.FunctionDef) else "<lambda>"


def _codes(outer: types.CodeType, wanted: types.CodeType) -> Iterator[types.CodeType]:
    """Yield the code inside `outer` that has the name and the first line of `wanted`."""
    for inner in outer.co_consts:
        if isinstance(inner, types.CodeType):
            if inner.co_name == wanted.co_name and inner.co_firstlineno == wanted.co_firstlineno:
                yield inner
            yield from _codes(inner, wanted)


def _alone_compiles_to(node: Definition, code: types.CodeType) -> bool:
    if not isinstance(node, ast.Lambda):
        return False
    outer = compile(ast.Expression(node), "", "eval", dont_inherit=True)
    return any(_same(inner, code) for inner in outer.co_consts)


def _same(one: object, other: object) -> bool:
    if not isinstance(one, types.CodeType) or not isinstance(other, types.CodeType):
        return type(one) is type(other) and one == other
    return (
        one.co_code == other.co_code
        and one.co_names == other.co_names
        and one.co_varnames == other.co_varnames
        and one.co_freevars == other.co_freevars
        and one.co_cellvars == other.co_cellvars
        and len(one.co_consts) == len(other.co_consts)
        and all(map(_same, one.co_consts, other.co_consts))
    )
