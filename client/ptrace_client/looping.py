"""A handler's body as that of a loop: what fusing is made of.

Names that are new contain a dot, which no name in a source can.
"""

from __future__ import annotations

import ast
import copy
import types
import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

ROWS: Final = ".rows"
_RESULT: Final = ".result"

_TAKES_MORE: Final = 0x04 | 0x08  # inspect.CO_VARARGS, CO_VARKEYWORDS


class RefusedError(Exception):
    """Something in the handler may be another thing in a loop."""


def is_plain(handler: types.FunctionType) -> bool:
    """Return whether a function's variables are all its own, and its parameters by position."""
    code = handler.__code__
    return (
        not code.co_kwonlyargcount
        and not code.co_flags & _TAKES_MORE
        and not code.co_freevars
        and not code.co_cellvars
        # Of the module itself, not made by a function.
        and code.co_qualname == code.co_name
    )


def loop(
    handler: types.FunctionType,
    node: ast.FunctionDef,
    statements: Iterable[ast.stmt],
    row: ast.expr,
    parameters: Sequence[str],
    constants: Mapping[str, object],
    before: Iterable[ast.stmt] = (),
) -> types.FunctionType:
    """Return a handler's body as a function that takes rows and runs it for each.

    `statements` are those of `node`, the handler's definition, as Body changes them. `row` is
    what a row is assigned to, and `before` are statements that come ahead of the body. The
    function's parameters are ROWS, `parameters`, and the names of `constants`, whose values are
    their defaults. Raise SyntaxError or ValueError where there is no such function.
    """
    # The local variables of a call are its own.
    fresh: list[ast.stmt] = []
    for name in handler.__code__.co_varnames[handler.__code__.co_argcount :]:
        fresh += [_empty(name), ast.Delete([ast.Name(name, ast.Del())])]
    rows = ast.For(row, load(ROWS), [*fresh, *before, *statements], [])
    function = function_def(node.name, [ROWS, *parameters], constants, [rows])
    ast.copy_location(function, node)
    return made(function, handler.__globals__, handler.__code__.co_filename, constants)


def function_def(
    name: str, parameters: Sequence[str], constants: Mapping[str, object], body: list[ast.stmt]
) -> ast.FunctionDef:
    """Return the definition of a function whose last parameters are `constants`; see made()."""
    return ast.FunctionDef(
        name,
        ast.arguments(
            posonlyargs=[],
            args=[ast.arg(each) for each in (*parameters, *constants)],
            kwonlyargs=[],
            kw_defaults=[],
            defaults=[ast.Constant(None) for _ in constants],
        ),
        body,
        [],
    )


def made(
    function: ast.FunctionDef,
    scope: dict[str, Any],
    filename: str,
    constants: Mapping[str, object],
) -> types.FunctionType:
    """Compile a definition to a function with the globals `scope`.

    Raise SyntaxError or ValueError where it cannot be compiled.
    """
    module = ast.fix_missing_locations(ast.Module([function], []))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        outer = compile(module, filename, "exec", dont_inherit=True)
    code = next(inner for inner in outer.co_consts if isinstance(inner, types.CodeType))
    return types.FunctionType(code, scope, code.co_name, tuple(constants.values()))


def load(name: str) -> ast.Name:
    """Return the expression that reads a variable."""
    return ast.Name(name, ast.Load())


def store(name: str) -> ast.Name:
    """Return the target that sets a variable."""
    return ast.Name(name, ast.Store())


def _empty(name: str) -> ast.stmt:
    return ast.Assign([store(name)], ast.Constant(None))


# What has variables and returns of its own, and what makes a call not run the body.
_APART: Final = (
    *(ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef),
    *(ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp),
    *(ast.Yield, ast.YieldFrom, ast.Await),
)
# Out of these, and out of `try` with `finally`, `continue` may not be what `return` is.
_AROUND: Final = (ast.For, ast.While, ast.With, ast.TryStar)


class Body(ast.NodeTransformer):
    """Makes a call's body that of a loop: `return` goes to the next row.

    Raises RefusedError for what it leaves to a call.
    """

    def __init__(self) -> None:
        # Whether any `return` has a value to evaluate.
        self._has_result = False
        # Statements of _AROUND around this one, count.
        self._inside = 0

    def of(self, node: ast.FunctionDef) -> list[ast.stmt]:
        """Return the statements that stand for those of a function."""
        statements: list[ast.stmt] = []
        for old in node.body:
            new = self.visit(copy.deepcopy(old))
            statements += new if isinstance(new, list) else [new]
        # What a call returns outlives its variables.
        return [_empty(_RESULT), *statements] if self._has_result else statements

    def visit(self, node: ast.AST) -> Any:
        if isinstance(node, _APART):
            raise RefusedError
        around = isinstance(node, _AROUND) or (isinstance(node, ast.Try) and bool(node.finalbody))
        self._inside += around
        try:
            return super().visit(node)
        finally:
            self._inside -= around

    def visit_Return(self, node: ast.Return) -> list[ast.stmt]:
        if self._inside:
            raise RefusedError
        leave = ast.copy_location(ast.Continue(), node)
        if node.value is None or isinstance(node.value, ast.Constant):
            return [leave]
        self._has_result = True
        value = self.visit(node.value)
        return [ast.copy_location(ast.Assign([store(_RESULT)], value), node), leave]
