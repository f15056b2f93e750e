"""Which fields a handler reads, found in its source, so that only those are asked for.

The rule is that an executed handler never meets a field that was not asked for. So whatever
is not plainly a read of a named field means all of them.
"""

from __future__ import annotations

import ast
import builtins
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ptrace_client.decode import event_name
from ptrace_client.event_fields import EXTRA_COLUMNS, columns_of, derived_columns, is_sample
from ptrace_client.source import definition
from ptrace_proto import ptrace_pb2 as pb

# Names by which code reaches its own variables without naming them.
FRAME_READERS = frozenset(
    [
        "exec",
        "eval",
        "locals",
        "vars",
        "dir",
        "breakpoint",
        "set_trace",
        "_getframe",
        "currentframe",
    ]
)
# PerfEvent's methods, which read all fields; get() is looked at more closely.
_METHODS = frozenset(("get", "keys", "values", "items", "to_dict", "print"))
# What a batch tells besides its columns, see batch.py.
_BATCH_ATTRIBUTES = frozenset(("lost", "start", "end", "cpu", "event", "size", "stacks"))
# Those that need columns of the rows, by either name that these have.
_BATCH_COLUMNS: Mapping[str, list[str]] = {"stacks": ["_callchain", "callchain"]}


@dataclass(frozen=True)
class Reads:
    """Names of the fields that a handler is seen to read, and whether it may read `everything`."""

    names: frozenset[str] = frozenset()
    everything: bool = False


ALL = Reads(everything=True)


def columns(reads: Reads, schema: pb.EventSchema) -> frozenset[str] | None:
    """Return the columns that `reads` needs of the event's rows; None for all of them.

    Names that the event does not have are left out: their reader gets an AttributeError.
    """
    return None if reads.everything else _named(reads, schema)


def projection(reads: Reads, schema: pb.EventSchema) -> pb.Projection:
    """Return what to ask for so that `reads` find all that they need."""
    event = event_name(schema)
    if not reads.everything:
        return pb.Projection(event=event, fields=sorted(_named(reads, schema)))
    if not is_sample(schema):
        return pb.Projection(event=event, all_fields=True)
    # What is captured on request only is in no row unless it is named.
    usual = (*(field.name for field in schema.fields), *EXTRA_COLUMNS)
    return pb.Projection(event=event, fields=sorted(_named(reads, schema).union(usual)))


def _named(reads: Reads, schema: pb.EventSchema) -> frozenset[str]:
    derived = derived_columns(schema)
    return columns_of(schema).intersection(derived.get(name, name) for name in reads.names)


def event_reads(handler: object) -> Reads:
    """Return what a handler reads of the PerfEvent that is its argument."""
    return _reads(handler, _event_read)


def batch_reads(handler: object) -> Reads:
    """Return what a batch handler reads of the array that is its argument."""
    return _reads(handler, _batch_read)


# The names of the fields that an expression reads, and where it names the argument.
_Read = tuple[list[str], ast.AST]
_Recognizer = Callable[[ast.AST, str, types.FunctionType], _Read | None]


def _reads(handler: object, recognize: _Recognizer) -> Reads:
    if not isinstance(handler, types.FunctionType) or hasattr(handler, "__wrapped__"):
        return ALL
    node = definition(handler)
    if node is None:
        return ALL
    parameters = [*node.args.posonlyargs, *node.args.args]
    if not parameters:
        return ALL
    return _walk(handler, node, parameters[0].arg, recognize)


def _walk(
    handler: types.FunctionType,
    definition: ast.FunctionDef | ast.Lambda,
    name: str,
    recognize: _Recognizer,
) -> Reads:
    """Return the fields read through the variable `name`; everything where that is unclear."""
    names: set[str] = set()
    everything = False
    understood: set[int] = set()
    body = definition.body if isinstance(definition.body, list) else [definition.body]
    for node in (inner for statement in body for inner in ast.walk(statement)):
        if _binds(node, name) or _sees_frame(node):
            everything = True
        elif isinstance(node, ast.Name) and node.id == name:
            everything |= id(node) not in understood
        elif (read := recognize(node, name, handler)) is not None:
            fields, place = read
            # ast.walk goes from the outside in: this comes later.
            understood.add(id(place))
            names.update(fields)
    return Reads(frozenset(names), everything)


def _is_name(node: ast.AST, name: str) -> bool:
    return isinstance(node, ast.Name) and node.id == name and isinstance(node.ctx, ast.Load)


def _binds(node: ast.AST, name: str) -> bool:
    """Return whether the node may give `name` another meaning somewhere in the function."""
    match node:
        case ast.ClassDef():
            # Its body mangles names and has a scope of its own kind.
            return True
        case ast.FunctionDef(name=bound) | ast.AsyncFunctionDef(name=bound):
            return bound == name
        case ast.arg(arg=bound) | ast.ExceptHandler(name=bound) | ast.MatchStar(name=bound):
            return bound == name
        case ast.MatchAs(name=bound) | ast.MatchMapping(rest=bound):
            return bound == name
        case ast.alias():
            return name in (node.asname, node.name.partition(".")[0])
        case ast.Global() | ast.Nonlocal():
            return name in node.names
    return False


def _sees_frame(node: ast.AST) -> bool:
    match node:
        case ast.Name(id=used) | ast.Attribute(attr=used) | ast.alias(name=used):
            return used in FRAME_READERS
    return False


def _text(node: ast.AST) -> str | None:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


def _event_read(node: ast.AST, name: str, handler: types.FunctionType) -> _Read | None:
    match node:
        case ast.Attribute(value=value, attr=attribute, ctx=ast.Load()):
            if _is_name(value, name) and _is_field(attribute):
                return [attribute], value
        case ast.Subscript(value=value, slice=key, ctx=ast.Load()):
            field = _text(key)
            if _is_name(value, name) and field is not None:
                return [field], value
        case ast.Compare(left=left, ops=[ast.In() | ast.NotIn()], comparators=[value]):
            if _is_name(value, name) and _text(left) is not None:
                return [], value
        case ast.Call(func=ast.Attribute(value=value, attr="get"), args=[key, *_]):
            field = _text(key)
            if _is_name(value, name) and field is not None and not node.keywords:
                return [field], value
        case ast.Call(func=ast.Name(id="getattr" | "hasattr" as used), args=[value, key, *_]):
            field = _text(key)
            if _is_name(value, name) and _is_field(field) and _is_builtin(used, handler):
                return [str(field)], value
    return None


def _is_field(attribute: str | None) -> bool:
    """Return whether an attribute is one field, not a method that reads all of them."""
    if attribute is None or attribute in _METHODS:
        return False
    return not (attribute.startswith("__") and attribute.endswith("__"))


def _batch_read(node: ast.AST, name: str, handler: types.FunctionType) -> _Read | None:
    match node:
        case ast.Attribute(value=value, attr=attribute, ctx=ast.Load()):
            if _is_name(value, name) and attribute in _BATCH_ATTRIBUTES:
                return _BATCH_COLUMNS.get(attribute, []), value
        case ast.Subscript(value=value, slice=key, ctx=ast.Load()) if _is_name(value, name):
            items = key.elts if isinstance(key, ast.List) else [key]
            fields = [field for field in map(_text, items) if field is not None]
            if len(fields) == len(items):
                return fields, value
        case ast.Call(func=ast.Name(id="len"), args=[value], keywords=[]):
            if _is_name(value, name) and _is_builtin("len", handler):
                return [], value
    return None


def _is_builtin(used: str, handler: types.FunctionType) -> bool:
    code = handler.__code__
    local = used in code.co_varnames + code.co_cellvars + code.co_freevars
    return not local and used not in handler.__globals__ and hasattr(builtins, used)
