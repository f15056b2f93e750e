"""Functions that take rows and call a handler for each, or have its body in them.

They are made as syntax trees, as fusing.py makes its loops. Names in the expressions of values.py
get a dot in front, so that they are no names of the script.
"""

from __future__ import annotations

import ast
import types
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from ptrace_client.decode import RowLayout
from ptrace_client.looping import (
    ROWS,
    Body,
    RefusedError,
    function_def,
    is_plain,
    load,
    loop,
    made,
    store,
)
from ptrace_client.perf_live.reads import Parameters
from ptrace_client.perf_live.values import CALLCHAIN, CHAIN, CPU, ROW, RowValues, Value, variable
from ptrace_client.source import definition
from ptrace_client.targets import Fused

_ITEM: Final = ".item"
_HANDLER: Final = ".handler"
_AGAIN: Final = ".again"
_LOOKUP: Final = ".lookup"
_CPU: Final = f".{variable(CPU)}"
_TIME: Final = ".time"
# Where the parts of the time are among the parameters, and what makes them one.
_SECS: Final = slice(3, 5)
_NS: Final = 1_000_000_000
# Nobody's file: tracebacks leave such frames out.
_FILENAME: Final = "<ptrace-client>"


@dataclass(frozen=True)
class Call:
    """What a handler is to be called with: its name in the script, and its arguments."""

    name: str
    handler: Callable[..., Any]
    arguments: Sequence[Value]
    values: RowValues
    layout: RowLayout

    @property
    def _chained(self) -> bool:
        return any(value.chained for value in self.arguments)

    def fused(self, known: Parameters, *, mixed: bool) -> Fused | None:
        """Return the handler's body as a loop over rows; None where there can be none.

        `known` is what it does with its parameters. `mixed` says that rows end with their CPU.
        """
        handler = self.handler
        if not isinstance(handler, types.FunctionType) or not is_plain(handler):
            return None
        node = definition(handler)
        if not isinstance(node, ast.FunctionDef) or len(known.names) != len(self.arguments):
            return None
        try:
            body = _PerfBody(known).of(node)
            used = {it.id for each in body for it in ast.walk(each) if isinstance(it, ast.Name)}
            given = dict(zip(known.names, self.arguments, strict=True))
            given[_TIME] = Value(variable("_time"), frozenset(("_time",)))
            named = {name: value for name, value in given.items() if name in used}
            direct = self._direct(named, known)
            before = [self._chain()] if any(value.chained for value in named.values()) else []
            before += [
                ast.Assign([store(name)], expression(value.code))
                for name, value in named.items()
                if name not in direct.values()
            ]
            row = self._row(mixed, direct)
            return loop(handler, node, body, row, [_CPU], self._constants(), before)
        except (RefusedError, SyntaxError, ValueError):
            return None

    def looped(self, lookup: dict[str, Any], again: Callable[..., None], *, mixed: bool) -> Fused:
        """Return a loop that calls the handler.

        Where `lookup`, the script's names, has another one by now, it calls again(row, cpu).
        """
        row = [ast.Assign([self._row(mixed, {})], load(_ITEM))]
        body = ast.For(store(_ITEM), load(ROWS), self._guarded(row), [])
        constants = self._constants(lookup, again)
        function = function_def(self.name, [ROWS, _CPU], constants, [body])
        made_loop: Fused = self._made(function, constants)
        return made_loop

    def single(
        self, lookup: dict[str, Any], again: Callable[..., None], cpu: int
    ) -> Callable[[tuple[Any, ...]], None]:
        """Return what calls the handler with one row of a CPU, as looped() does."""
        row = [ast.Assign([self._row(False, {})], load(_ITEM))]
        constants = {_CPU: cpu, **self._constants(lookup, again)}
        function = function_def(self.name, [_ITEM], constants, self._guarded(row))
        made_call: Callable[[tuple[Any, ...]], None] = self._made(function, constants)
        return made_call

    def _guarded(self, row: list[ast.Assign]) -> list[ast.stmt]:
        found = ast.Call(
            ast.Attribute(load(_LOOKUP), "get", ast.Load()), [ast.Constant(self.name)], []
        )
        other = ast.Compare(found, [ast.IsNot()], [load(_HANDLER)])
        call: list[ast.stmt] = [*row]
        if self._chained:
            call.append(self._chain())
        arguments = [expression(value.code) for value in self.arguments]
        call.append(ast.Expr(ast.Call(load(_HANDLER), arguments, [])))
        again = ast.Expr(ast.Call(load(_AGAIN), [load(_ITEM), load(_CPU)], []))
        return [ast.If(other, [again], call)]

    def _chain(self) -> ast.Assign:
        return ast.Assign([store(f".{CALLCHAIN}")], expression(self.values.callchain.code))

    def _direct(self, named: dict[str, Value], known: Parameters) -> dict[str, str]:
        """Return which parameters are columns as they are: by column."""
        variables = {variable(field.name): field.name for field in self.layout.fields}
        found: dict[str, str] = {}
        for name, value in named.items():
            column = variables.get(value.code)
            shared = sum(column in other.columns for other in named.values()) if column else 0
            if column is not None and shared == 1 and name not in known.set:
                found[column] = name
        return found

    def _row(self, mixed: bool, direct: dict[str, str]) -> ast.expr:
        """Return the target that takes a row apart, columns of `direct` into these variables."""
        layout = self.layout
        names = [direct.get(field.name, f".{variable(field.name)}") for field in layout.fields]
        if layout.row_index is not None:
            names.append(f".{ROW}")
        if layout.stack_index is not None:
            names.append(f".{CHAIN}")
        if mixed:
            names.append(_CPU)
        return ast.Tuple([store(name) for name in names], ast.Store()) if names else store(".row")

    def _constants(
        self, lookup: dict[str, Any] | None = None, again: Callable[..., None] | None = None
    ) -> dict[str, object]:
        scope = {f".{name}": value for name, value in self.values.scope.items()}
        if lookup is None:
            return scope
        return {_HANDLER: self.handler, _LOOKUP: lookup, _AGAIN: again, **scope}

    def _made(self, function: ast.FunctionDef, constants: dict[str, object]) -> Any:
        function.lineno = function.end_lineno = 1
        function.col_offset = function.end_col_offset = 0
        return made(function, {"__builtins__": {}}, _FILENAME, constants)


class _PerfBody(Body):
    """Makes a time that is put together again from its parts the time that the row has."""

    def __init__(self, known: Parameters) -> None:
        super().__init__()
        self._parts = [] if known.set.intersection(known.names[_SECS]) else known.names[_SECS]

    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
        match node:
            case ast.BinOp(
                left=ast.BinOp(left=ast.Name(id=secs), op=ast.Mult(), right=ast.Constant(value=ns)),
                op=ast.Add(),
                right=ast.Name(id=nsecs),
            ) if [secs, nsecs] == [*self._parts] and ns == _NS and type(ns) is int:
                return ast.copy_location(load(_TIME), node)
        return self.generic_visit(node)


class _Dotted(ast.NodeTransformer):
    def visit_Name(self, node: ast.Name) -> ast.AST:
        # All but those of the language.
        if node.id in ("None", "True", "False"):
            return node
        return ast.Name(f".{node.id}", node.ctx)


def expression(code: str) -> ast.expr:
    """Return the tree of an expression of values.py."""
    tree = ast.parse(code, mode="eval")
    found: ast.expr = _Dotted().visit(tree.body)
    for node in ast.walk(found):
        # It gets that of what it is put into.
        for place in ("lineno", "end_lineno", "col_offset", "end_col_offset"):
            vars(node).pop(place, None)
    return found
