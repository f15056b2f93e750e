"""Handlers with the loop over the events inside them.

Making an event and calling a function for it costs more than all that a small handler does. Where
a handler is seen to read nothing but plain columns of its event, this module writes it anew as a
function that takes the rows and loops itself:

    def sched__sched_switch(event):             def sched__sched_switch(rows):
        seen[event._pid] = event._time              for pid, time in rows:
                                                        seen[pid] = time

It is made from the handler's syntax tree, keeps its name, its file and its lines, and runs in
the script's own globals, so that a script cannot tell: not from what it computes or prints, nor
from a traceback. Whatever is not plainly the same that way is left as it is. The names that
are new contain a dot, which no name in a source can.
"""

from __future__ import annotations

import ast
import copy
import types
import warnings
from typing import Any, Final

from ptrace_client.decode import DYNAMIC_KINDS, RowLayout, TextCache, event_name
from ptrace_client.event_class import is_taken
from ptrace_client.event_fields import common_keys, derived_columns, has_own_cpu, is_sample
from ptrace_client.projection import event_reads
from ptrace_client.source import definition
from ptrace_client.targets import Fused
from ptrace_proto import ptrace_pb2 as pb

_ROWS: Final = ".rows"
_ROW: Final = ".row"
_RESULT: Final = ".result"
_CPU: Final = "event._cpu"
_OFFSET: Final = "event.realtime_offset"
_TEXTS: Final = "event.texts"
# What is the same for all events of a schema, by the names under which handlers read it.
_CONSTANTS: Final = ("common_type", "_event", "_period")
# Parameters of the generated function; the values of all but the first two are its defaults.
_PARAMETERS: Final = (_ROWS, _CPU, *map("event.{}".format, _CONSTANTS), _OFFSET, _TEXTS)

_TAKES_MORE: Final = 0x04 | 0x08  # inspect.CO_VARARGS, CO_VARKEYWORDS


def fuse(
    handler: object, schema: pb.EventSchema, layout: RowLayout, realtime_offset: int
) -> Fused | None:
    """Return a handler's loop over the rows of `layout`, or None where there is none.

    `realtime_offset` is that of pb.Started, ns.
    """
    if not isinstance(handler, types.FunctionType) or not _is_plain(handler):
        return None
    node = definition(handler)
    # Where the event, or the handler's frame, may get into other hands, there must be an event.
    if not isinstance(node, ast.FunctionDef) or event_reads(handler).everything:
        return None
    try:
        code = _compiled(_loop(handler, node, schema, layout), handler.__code__.co_filename)
    except (_RefusedError, SyntaxError, ValueError):
        return None
    constants = (schema.common_type, event_name(schema), 1, realtime_offset, TextCache())
    return types.FunctionType(code, handler.__globals__, code.co_name, constants)


def _is_plain(handler: types.FunctionType) -> bool:
    code = handler.__code__
    return (
        code.co_argcount == 1
        and not code.co_kwonlyargcount
        and not code.co_flags & _TAKES_MORE
        and handler.__defaults__ is None
        and not code.co_freevars
        and not code.co_cellvars
        # Of the module itself, not made by a function.
        and code.co_qualname == code.co_name
    )


class _RefusedError(Exception):
    """Something in the handler may be another thing in a loop."""


def _loop(
    handler: types.FunctionType, node: ast.FunctionDef, schema: pb.EventSchema, layout: RowLayout
) -> ast.Module:
    """Return a module with nothing but the generated function."""
    (parameter,) = (*node.args.posonlyargs, *node.args.args)
    inliner = _Inliner(parameter.arg, schema, layout)
    statements = [new for old in node.body for new in inliner.statements(copy.deepcopy(old))]
    # The local variables of a call are its own, and what it returns outlives them.
    body: list[ast.stmt] = []
    for name in handler.__code__.co_varnames[1:]:
        body.append(_empty(name))
        body.append(ast.Delete([ast.Name(name, ast.Del())]))
    if inliner.has_result:
        body.append(_empty(_RESULT))
    body += statements
    loop = ast.For(_row(layout), ast.Name(_ROWS, ast.Load()), body, [])
    parameters = ast.arguments(
        posonlyargs=[],
        args=[ast.arg(name) for name in _PARAMETERS],
        kwonlyargs=[],
        kw_defaults=[],
        defaults=[ast.Constant(None) for _ in _PARAMETERS[2:]],
    )
    function = ast.FunctionDef(node.name, parameters, [loop], [])
    ast.copy_location(function, node)
    return ast.fix_missing_locations(ast.Module([function], []))


def _empty(name: str) -> ast.stmt:
    return ast.Assign([ast.Name(name, ast.Store())], ast.Constant(None))


def _row(layout: RowLayout) -> ast.expr:
    """Return the target that takes a row apart."""
    if layout.row_index is not None or layout.stack_index is not None:
        raise _RefusedError
    names: list[ast.expr] = [
        ast.Name(_variable(field.name), ast.Store()) for field in layout.fields
    ]
    return ast.Tuple(names, ast.Store()) if names else ast.Name(_ROW, ast.Store())


def _variable(column: str) -> str:
    return f"row.{column}"


def _compiled(module: ast.Module, filename: str) -> types.CodeType:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        outer = compile(module, filename, "exec", dont_inherit=True)
    return next(inner for inner in outer.co_consts if isinstance(inner, types.CodeType))


# What has variables and returns of its own, and what makes a call not run the body.
_APART: Final = (
    *(ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef),
    *(ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp),
    *(ast.Yield, ast.YieldFrom, ast.Await),
)
# Out of these, and out of `try` with `finally`, `continue` may not be what `return` is.
_AROUND: Final = (ast.For, ast.While, ast.With, ast.TryStar)


class _Inliner(ast.NodeTransformer):
    """Makes a call's body that of a loop: fields become variables, `return` goes to the next row.

    Raises _RefusedError for what it leaves to a call.
    """

    def __init__(self, parameter: str, schema: pb.EventSchema, layout: RowLayout) -> None:
        self._parameter = parameter
        self._constants = frozenset(_CONSTANTS).intersection(common_keys(schema))
        self._derived = derived_columns(schema)
        own_cpu = not is_sample(schema) or has_own_cpu(schema)
        self._cpu_names = ("_cpu",) if own_cpu else ("_cpu", "cpu")
        self._fields = {field.name: field for field in layout.fields}
        # Whether any `return` has a value to evaluate.
        self.has_result = False
        # Statements of _AROUND around this one, count.
        self._inside = 0

    def statements(self, statement: ast.stmt) -> list[ast.stmt]:
        """Return what stands for a statement; the statement itself is changed, too."""
        new = self.visit(statement)
        return new if isinstance(new, list) else [new]

    def visit(self, node: ast.AST) -> Any:
        if isinstance(node, _APART):
            raise _RefusedError
        around = isinstance(node, _AROUND) or (isinstance(node, ast.Try) and bool(node.finalbody))
        self._inside += around
        try:
            return super().visit(node)
        finally:
            self._inside -= around

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        if not self._is_event(node.value):
            return self.generic_visit(node)
        if not isinstance(node.ctx, ast.Load) or is_taken(node.attr):
            raise _RefusedError
        return self._value(node.attr, node)

    def visit_Subscript(self, node: ast.Subscript) -> ast.AST:
        if not self._is_event(node.value):
            return self.generic_visit(node)
        match node:
            case ast.Subscript(slice=ast.Constant(value=str(name)), ctx=ast.Load()):
                return self._value(name, node)
        raise _RefusedError

    def visit_Name(self, node: ast.Name) -> ast.AST:
        if self._is_event(node):
            raise _RefusedError
        return node

    def visit_Return(self, node: ast.Return) -> list[ast.stmt]:
        if self._inside:
            raise _RefusedError
        leave = ast.copy_location(ast.Continue(), node)
        if node.value is None or isinstance(node.value, ast.Constant):
            return [leave]
        self.has_result = True
        result = ast.Name(_RESULT, ast.Store())
        return [ast.copy_location(ast.Assign([result], self.visit(node.value)), node), leave]

    def _is_event(self, node: ast.AST) -> bool:
        return isinstance(node, ast.Name) and node.id == self._parameter

    def _value(self, name: str, place: ast.expr) -> ast.expr:
        """Return the expression for a field, with the position of what it replaces."""
        value: ast.expr
        if name in self._cpu_names:
            value = _load(_CPU)
        elif name in self._constants:
            value = _load(f"event.{name}")
        else:
            column = self._fields.get(self._derived.get(name, name))
            if column is None or column.kind in DYNAMIC_KINDS:
                raise _RefusedError
            value = _load(_variable(column.name))
            if name == "_realtime":
                value = ast.BinOp(value, ast.Add(), _load(_OFFSET))
            elif column.kind == pb.FIELD_KIND_CHAR_ARRAY:
                value = ast.Subscript(_load(_TEXTS), value, ast.Load())
        for node in ast.walk(value):
            ast.copy_location(node, place)
        return value


def _load(name: str) -> ast.Name:
    return ast.Name(name, ast.Load())
