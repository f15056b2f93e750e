"""The kernel's print formats, parsed into the contract's PrintFormat.

The `print fmt:` line of an event in tracefs is a C printf string and an expression
over the record's fields for each conversion, with a few helpers that the kernel
defines for it (include/trace/stages/stage3_trace_output.h).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator

from google.protobuf.message import DecodeError

from ptrace_formats.c_expression import ExpressionParser, Node, as_expression, call
from ptrace_formats.c_tokens import UnparsableError
from ptrace_formats.c_types import Constant
from ptrace_proto import ptrace_pb2 as pb

# Macros of kernel headers that no enum carries, and vmemmap_base, the address of
# the array of struct page: nothing outside the kernel can read it, so the page
# "pointers" of kmem events are page frame numbers, as perf prints them.
_KNOWN_NAMES = {
    "true": 1,
    "false": 0,
    "NULL": 0,
    "vmemmap_base": 0,
    "DUMP_PREFIX_NONE": 0,
    "DUMP_PREFIX_ADDRESS": 1,
    "DUMP_PREFIX_OFFSET": 2,
}

# Helpers whose argument is the name of a field.
_FIELD_HELPERS = frozenset(
    f"__get_{relative}{what}"
    for relative in ("", "rel_")
    for what in ("str", "dynamic_array", "dynamic_array_len", "bitmask", "cpumask", "sockaddr")
) | {"__get_sockaddr_rel"}
# Helpers whose arguments are expressions.
_VALUE_HELPERS = frozenset(
    {
        "__print_hex",
        "__print_hex_str",
        "__print_array",
        "__print_dynamic_array",
        "__print_hex_dump",
        "__print_ns_to_secs",
        "__print_ns_without_secs",
    }
)
# Helpers with a table of names, and whether it names flags.
_TABLE_HELPERS = {
    "__print_flags": True,
    "__print_flags_u64": True,
    "__print_symbolic": False,
    "__print_symbolic_u64": False,
}

# Levels of an expression. Peers refuse messages with more than 100 levels, of which an
# expression takes two each and what is around it a few.
_DEEPEST = 40


def parse(
    print_fmt: str, names: Collection[str], constant: Callable[[str], int | None] | None = None
) -> pb.PrintFormat | None:
    """Parse what stands behind `print fmt:` in an event's format file.

    `names` are the event's fields. `constant` gives the value of a name that the format
    kept, None where it is not known; without it none is. Entries of flag and symbol tables
    whose value stays unknown are left out. Returns None for a format that only the kernel can
    evaluate (it calls a kernel function or reads a variable).
    """
    try:
        parsed = _FormatParser(print_fmt, names, constant).format()
    except (UnparsableError, RecursionError, DecodeError, UnicodeError):
        return None
    return parsed if max(map(_depth, parsed.arguments), default=0) <= _DEEPEST else None


def named_values(parsed: pb.PrintFormat) -> dict[str, pb.NamedValues]:
    """Return the flag or symbol table of every field that the format prints by one.

    A field counts where the table names its plain value or some of its bits
    (`field & mask`), not where it names something computed from it.
    """
    found: dict[str, pb.NamedValues] = {}
    for expression in _walk(parsed.arguments):
        if expression.WhichOneof("node") == "named":
            field = _plain_field(expression.named.value)
            if field:
                found.setdefault(field, expression.named.names)
    return found


def _walk(expressions: Collection[pb.Expression]) -> Iterator[pb.Expression]:
    for expression in expressions:
        yield expression
        kind = expression.WhichOneof("node")
        if kind == "call":
            yield from _walk(expression.call.arguments)
        elif kind == "named":
            yield from _walk([expression.named.value])


def _depth(expression: pb.Expression) -> int:
    kind = expression.WhichOneof("node")
    if kind == "named":
        return 1 + _depth(expression.named.value)
    return 1 + max(map(_depth, expression.call.arguments), default=0)


def _plain_field(expression: pb.Expression) -> str:
    while expression.WhichOneof("node") == "call":
        applied = expression.call
        masked = applied.name == "&" and applied.arguments[1].WhichOneof("node") == "number"
        if not masked and not applied.name.startswith("cast:"):
            return ""
        expression = applied.arguments[0]
    return expression.field


class _FormatParser(ExpressionParser):
    def __init__(
        self, source: str, fields: Collection[str], known: Callable[[str], int | None] | None
    ) -> None:
        super().__init__(source, fields)
        self._known = known

    def constant(self, name: str) -> int:
        if name in _KNOWN_NAMES:
            return _KNOWN_NAMES[name]
        value = self._known(name) if self._known is not None else None
        if value is None:
            raise UnparsableError(name)
        return value

    def format(self) -> pb.PrintFormat:
        parsed = pb.PrintFormat(format=self.string())
        while self.accept(","):
            parsed.arguments.append(as_expression(self.value()))
        if self.kind != "end":
            self.fail()
        return parsed

    def function(self, name: str) -> Node:
        if name in _TABLE_HELPERS:
            return self._table(_TABLE_HELPERS[name])
        if name == "sizeof":
            return self.size()
        if name in _FIELD_HELPERS:
            made = call(name, self.field())
            self.expect(")")
            return made
        arguments = [self.value()]
        while self.accept(","):
            arguments.append(self.value())
        self.expect(")")
        if name == "__builtin_expect":
            return arguments[0]
        if name not in _VALUE_HELPERS:
            raise UnparsableError(name)
        return call(name, *arguments)

    def _table(self, flags: bool) -> pb.Expression:
        named = pb.Named(value=as_expression(self.value()))
        named.names.flags = flags
        self.expect(",")
        if flags:
            named.names.delimiter = self.string()
            self.expect(",")
        while self.accept("{"):
            self._table_entry(named.names)
            if not self.accept(","):
                break
        self.expect(")")
        return pb.Expression(named=named)

    def _table_entry(self, names: pb.NamedValues) -> None:
        """Parse the rest of `{ value, "name" }`; `{ }` and a null name end a table in C."""
        if self.accept("}"):
            return
        value = self._table_value()
        self.expect(",")
        if self.kind == "string":
            name = self.string()
            if value is not None:
                names.values.add(value=value & (1 << 64) - 1, name=name)
        else:
            end = self.value()
            if not isinstance(end, Constant) or end.value:
                self.fail()
        self.expect("}")

    def _table_value(self) -> int | None:
        """Parse up to the comma; None where the value holds a name that nothing explains."""
        start = self.place
        try:
            node = self.value()
            if isinstance(node, Constant):
                return node.value
        except UnparsableError:
            pass
        self.place = start
        depth = 0
        while depth or self.text != ",":
            depth += (self.text == "(") - (self.text == ")")
            self.advance()
        return None
