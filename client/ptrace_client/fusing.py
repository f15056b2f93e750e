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
import types
from typing import Final

from ptrace_client.decode import DYNAMIC_KINDS, RowLayout, TextCache, event_name
from ptrace_client.event_class import is_taken
from ptrace_client.event_fields import common_keys, derived_columns, has_own_cpu, is_sample
from ptrace_client.looping import Body, RefusedError, is_plain, load, loop, store
from ptrace_client.projection import event_reads
from ptrace_client.source import definition
from ptrace_client.targets import Fused
from ptrace_proto import ptrace_pb2 as pb

_ROW: Final = ".row"
_CPU: Final = "event._cpu"
_OFFSET: Final = "event.realtime_offset"
_TEXTS: Final = "event.texts"
# What is the same for all events of a schema, by the names under which handlers read it.
_CONSTANTS: Final = ("common_type", "_event", "_period")


def fuse(
    handler: object, schema: pb.EventSchema, layout: RowLayout, realtime_offset: int
) -> Fused | None:
    """Return a handler's loop over the rows of `layout`, or None where there is none.

    `realtime_offset` is that of pb.Started, ns.
    """
    if not isinstance(handler, types.FunctionType) or not is_plain(handler):
        return None
    if handler.__code__.co_argcount != 1 or handler.__defaults__ is not None:
        return None
    node = definition(handler)
    # Where the event, or the handler's frame, may get into other hands, there must be an event.
    if not isinstance(node, ast.FunctionDef) or event_reads(handler).everything:
        return None
    (parameter,) = (*node.args.posonlyargs, *node.args.args)
    values = (schema.common_type, event_name(schema), 1)
    constants = {
        **{f"event.{name}": value for name, value in zip(_CONSTANTS, values, strict=True)},
        _OFFSET: realtime_offset,
        _TEXTS: TextCache(),
    }
    try:
        body = _EventBody(parameter.arg, schema, layout).of(node)
        return loop(handler, node, body, _row(layout), [_CPU], constants)
    except (RefusedError, SyntaxError, ValueError):
        return None


def _row(layout: RowLayout) -> ast.expr:
    """Return the target that takes a row apart."""
    if layout.row_index is not None or layout.stack_index is not None:
        raise RefusedError
    names: list[ast.expr] = [store(_variable(field.name)) for field in layout.fields]
    return ast.Tuple(names, ast.Store()) if names else store(_ROW)


def _variable(column: str) -> str:
    return f"row.{column}"


class _EventBody(Body):
    """Makes fields of the event variables."""

    def __init__(self, parameter: str, schema: pb.EventSchema, layout: RowLayout) -> None:
        super().__init__()
        self._parameter = parameter
        self._constants = frozenset(_CONSTANTS).intersection(common_keys(schema))
        self._derived = derived_columns(schema)
        own_cpu = not is_sample(schema) or has_own_cpu(schema)
        self._cpu_names = ("_cpu",) if own_cpu else ("_cpu", "cpu")
        self._fields = {field.name: field for field in layout.fields}

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        if not self._is_event(node.value):
            return self.generic_visit(node)
        if not isinstance(node.ctx, ast.Load) or is_taken(node.attr):
            raise RefusedError
        return self._value(node.attr, node)

    def visit_Subscript(self, node: ast.Subscript) -> ast.AST:
        if not self._is_event(node.value):
            return self.generic_visit(node)
        match node:
            case ast.Subscript(slice=ast.Constant(value=str(name)), ctx=ast.Load()):
                return self._value(name, node)
        raise RefusedError

    def visit_Name(self, node: ast.Name) -> ast.AST:
        if self._is_event(node):
            raise RefusedError
        return node

    def _is_event(self, node: ast.AST) -> bool:
        return isinstance(node, ast.Name) and node.id == self._parameter

    def _value(self, name: str, place: ast.expr) -> ast.expr:
        """Return the expression for a field, with the position of what it replaces."""
        value: ast.expr
        if name in self._cpu_names:
            value = load(_CPU)
        elif name in self._constants:
            value = load(f"event.{name}")
        else:
            column = self._fields.get(self._derived.get(name, name))
            if column is None or column.kind in DYNAMIC_KINDS:
                raise RefusedError
            value = load(_variable(column.name))
            if name == "_realtime":
                value = ast.BinOp(value, ast.Add(), load(_OFFSET))
            elif column.kind == pb.FIELD_KIND_CHAR_ARRAY:
                value = ast.Subscript(load(_TEXTS), value, ast.Load())
        for node in ast.walk(value):
            ast.copy_location(node, place)
        return value
