"""A print format as one Python function.

The contract gives a format as a printf string and expression trees. They become
the source of one function `text(v)` over the mapping of a record's values, in
which every expression has its C type worked out beforehand, so that a record
costs little more than Python's own `%`. Nothing the server sends gets into that
source but numbers, and strings as their repr().
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ptrace_client import print_values
from ptrace_proto import ptrace_pb2 as pb


class CannotPrintError(Exception):
    """The format holds something that this version cannot evaluate."""


@dataclass(frozen=True)
class Term:
    """Source of a Python expression and what it gives: "int", "str" or "bytes".

    For an int, `bits` and `signed` are its C type and the value is within it;
    for an array they are those of an element.
    """

    source: str
    kind: str = "int"
    bits: int = 32
    signed: bool = True


_CAST = re.compile(r"cast:(?:([su])(8|16|32|64)|bool|void)( \*)?")
_COMPARISONS = frozenset({"==", "!=", "<", "<=", ">", ">="})
_ARRAY_KINDS = {
    pb.FIELD_KIND_CHAR_ARRAY: "str",
    pb.FIELD_KIND_DYNAMIC_STRING: "str",
    pb.FIELD_KIND_BYTES: "bytes",
    pb.FIELD_KIND_DYNAMIC_BYTES: "bytes",
}


def converted(term: Term, bits: int, signed: bool) -> str:
    """Return the source of an int converted to another C type, with no more work than needed."""
    fits = term.bits <= bits if term.signed == signed else not term.signed and term.bits < bits
    if fits:
        return term.source
    mask = hex((1 << bits) - 1)
    if not signed:
        return f"({term.source} & {mask})"
    half = hex(1 << (bits - 1))
    return f"(({term.source} + {half} & {mask}) - {half})"


def _wrapped(source: str, bits: int, signed: bool) -> Term:
    # Any width other than the wanted one makes converted() wrap the value.
    return Term(converted(Term(source, bits=1 << 16), bits, signed), bits=bits, signed=signed)


def _common(*terms: Term) -> tuple[int, bool]:
    promoted = [(term.bits, term.signed) if term.bits >= 32 else (32, True) for term in terms]
    bits = max(width for width, _ in promoted)
    return bits, all(signed for width, signed in promoted if width == bits)


class Compiler:
    """Turns expressions over the fields of one event into Python source.

    `namespace` collects the objects that the source refers to.
    """

    def __init__(self, fields: Mapping[str, pb.FieldInfo]) -> None:
        self._fields = fields
        self.namespace: dict[str, object] = {"p": print_values}

    def term(self, expression: pb.Expression) -> Term:
        """Return the term of an expression; raises CannotPrintError."""
        kind = expression.WhichOneof("node")
        if kind == "number":
            number = expression.number
            small = -(1 << 31) <= number < 1 << 31
            return Term(f"({number})" if number < 0 else str(number), bits=32 if small else 64)
        if kind == "text":
            return Term(repr(expression.text), "str", 8, False)
        if kind == "field":
            return self._field(expression.field)
        if kind == "named":
            return self._named(expression.named)
        if kind == "call":
            return self._call(expression.call)
        raise CannotPrintError("an empty expression")

    def number(self, expression: pb.Expression) -> Term:
        """Return an expression as an int; an array stands for its address, which is not zero."""
        return self._as_number(self.term(expression))

    def _as_number(self, term: Term) -> Term:
        return term if term.kind == "int" else Term("1", bits=64, signed=False)

    def string(self, expression: pb.Expression) -> str:
        """Return the source of an expression as text, for %s."""
        return self._as_string(self.term(expression))

    def _as_string(self, term: Term) -> str:
        if term.kind == "str":
            return term.source
        if term.kind == "bytes":
            return f"p.text({term.source})"
        if term.source == "0":
            return "'(null)'"
        # A pointer to text that only the kernel could follow: its address, as perf shows it.
        return f"('%x' % {converted(term, 64, False)})"

    def bytes(self, expression: pb.Expression) -> str:
        """Return the source of an expression as bytes, for arrays and addresses."""
        term = self.term(expression)
        if term.kind == "bytes":
            return term.source
        if term.kind == "str":
            return f"p.data({term.source})"
        raise CannotPrintError("a number where an array is needed")

    def _field(self, name: str) -> Term:
        info = self._fields.get(name)
        if info is None:
            raise CannotPrintError(f"no field {name}")
        source = f"v[{name!r}]"
        kind = _ARRAY_KINDS.get(info.kind)
        if kind:
            return Term(source, kind, 8 * max(info.element_size, 1), info.element_signed)
        return Term(source, bits=8 * info.size, signed=info.kind == pb.FIELD_KIND_SIGNED)

    def _named(self, named: pb.Named) -> Term:
        write = print_values.flag_names if named.names.flags else print_values.symbol_names
        name = f"names{len(self.namespace)}"
        self.namespace[name] = write(named.names)
        return Term(f"{name}({self.number(named.value).source})", "str", 8, False)

    def _call(self, call: pb.Call) -> Term:
        name, arguments = call.name, list(call.arguments)
        handler = _HELPERS.get(name)
        if name.startswith("cast:"):
            name, handler = "cast:", _HELPERS["cast:"]
        if handler is None:
            raise CannotPrintError(f"function {name}")
        count, method = handler
        if len(arguments) != count:
            raise CannotPrintError(f"{len(arguments)} arguments of {call.name}")
        return method(self, call.name, *arguments)

    def _cast(self, name: str, operand: pb.Expression) -> Term:
        match = _CAST.fullmatch(name)
        if not match:
            raise CannotPrintError(name)
        sign, bits, is_pointer = match.groups()
        term = self.term(operand)
        if term.kind != "int" and is_pointer:
            if not bits:
                return term
            return Term(term.source, term.kind, int(bits), sign == "s")
        term = self._as_number(term)
        if is_pointer:
            return Term(converted(term, 64, False), bits=64, signed=False)
        if not bits:
            return Term(f"({term.source} != 0)", bits=8, signed=False)
        return Term(converted(term, int(bits), sign == "s"), bits=int(bits), signed=sign == "s")

    def _choice(self, _: str, *parts: pb.Expression) -> Term:
        condition, yes, no = self.number(parts[0]), self.term(parts[1]), self.term(parts[2])
        if yes.kind == no.kind == "int":
            bits, signed = _common(yes, no)
            first, second = (converted(term, bits, signed) for term in (yes, no))
            return Term(f"({first} if {condition.source} else {second})", bits=bits, signed=signed)
        if yes.kind == no.kind == "bytes":
            source = f"({yes.source} if {condition.source} else {no.source})"
            return Term(source, "bytes", yes.bits, yes.signed)
        first, second = self._as_string(yes), self._as_string(no)
        return Term(f"({first} if {condition.source} else {second})", "str", 8, False)

    def _arithmetic(self, operator: str, *operands: pb.Expression) -> Term:
        left, right = map(self.number, operands)
        bits, signed = _common(left, right)
        first, second = (converted(term, bits, signed) for term in (left, right))
        if operator in _COMPARISONS:
            return Term(f"({first} {operator} {second})")
        if operator in ("&", "|", "^"):
            return Term(f"({first} {operator} {second})", bits=bits, signed=signed)
        if operator in "/%":
            function = "divide" if operator == "/" else "remainder"
            return _wrapped(f"p.{function}({first}, {second})", bits, signed)
        return _wrapped(f"({first} {operator} {second})", bits, signed)

    def _shift(self, operator: str, *operands: pb.Expression) -> Term:
        left, right = map(self.number, operands)
        bits, signed = _common(left)
        # The machine's shift takes the count modulo the width.
        source = f"({converted(left, bits, signed)} {operator} ({right.source} & {bits - 1}))"
        if operator == ">>":
            return Term(source, bits=bits, signed=signed)
        return _wrapped(source, bits, signed)

    def _logic(self, operator: str, *operands: pb.Expression) -> Term:
        left, right = map(self.number, operands)
        word = "and" if operator == "&&" else "or"
        return Term(f"(1 if {left.source} {word} {right.source} else 0)")

    def _unary(self, operator: str, operand: pb.Expression) -> Term:
        term = self.number(operand)
        if operator == "!":
            return Term(f"(0 if {term.source} else 1)")
        bits, signed = _common(term)
        source = converted(term, bits, signed)
        return _wrapped(f"({'-' if operator == 'neg' else '~'}{source})", bits, signed)

    def _index(self, _: str, array: pb.Expression, index: pb.Expression) -> Term:
        term = self.term(array)
        if term.kind == "int":
            raise CannotPrintError("an element of a number")
        size = term.bits // 8
        source = f"p.element({term.source}, {self.number(index).source}, {size}, {term.signed})"
        return Term(source, bits=term.bits, signed=term.signed)

    def _contents(self, _: str, field: pb.Expression) -> Term:
        return self.term(field)

    def _length(self, _: str, field: pb.Expression) -> Term:
        term = self.term(field)
        # Text arrives without its closing NUL, which the kernel counts.
        extra = " + 1" if term.kind == "str" else ""
        return Term(f"(len(p.data({term.source})){extra})")

    def _bitmask(self, _: str, field: pb.Expression) -> Term:
        return Term(f"p.bitmask({self.bytes(field)})", "str", 8, False)

    def _hex(self, name: str, array: pb.Expression, length: pb.Expression) -> Term:
        separator = "" if name.endswith("_str") else " "
        arguments = f"{self.bytes(array)}, {self.number(length).source}, {separator!r}"
        return Term(f"p.hex_bytes({arguments})", "str", 8, False)

    def _array(self, _: str, *parts: pb.Expression) -> Term:
        count, size = (self.number(part).source for part in parts[1:])
        return Term(f"p.array({self.bytes(parts[0])}, {count}, {size})", "str", 8, False)

    def _dynamic_array(self, _: str, array: pb.Expression, size: pb.Expression) -> Term:
        source = f"p.dynamic_array({self.bytes(array)}, {self.number(size).source})"
        return Term(source, "str", 8, False)

    def _hex_dump(self, _: str, *parts: pb.Expression) -> Term:
        prefix, kind, row, group, buffer, length, ascii_ = parts
        arguments = (
            self.string(prefix),
            *(self.number(part).source for part in (kind, row, group)),
            self.bytes(buffer),
            *(self.number(part).source for part in (length, ascii_)),
        )
        return Term(f"p.hex_dump({', '.join(arguments)})", "str", 8, False)

    def _seconds(self, name: str, value: pb.Expression) -> Term:
        source = converted(self.number(value), 64, False)
        if name == "__print_ns_to_secs":
            return Term(f"({source} // 1000000000)", bits=64, signed=False)
        return Term(f"({source} % 1000000000)", signed=False)

    def _size(self, _: str, operand: pb.Expression) -> Term:
        term = self.term(operand)
        if term.kind != "int":
            raise CannotPrintError("the size of an array")
        return Term(str(term.bits // 8), bits=64, signed=False)


_Handler = tuple[int, Callable[..., Term]]
_HELPERS: dict[str, _Handler] = {
    "cast:": (1, Compiler._cast),
    "?:": (3, Compiler._choice),
    "[]": (2, Compiler._index),
    **dict.fromkeys(("+", "-", "*", "/", "%", "&", "|", "^"), (2, Compiler._arithmetic)),
    **dict.fromkeys(_COMPARISONS, (2, Compiler._arithmetic)),
    **dict.fromkeys(("<<", ">>"), (2, Compiler._shift)),
    **dict.fromkeys(("&&", "||"), (2, Compiler._logic)),
    **dict.fromkeys(("neg", "~", "!"), (1, Compiler._unary)),
    **dict.fromkeys(
        (
            "__get_str",
            "__get_rel_str",
            "__get_dynamic_array",
            "__get_rel_dynamic_array",
            "__get_sockaddr",
            "__get_rel_sockaddr",
            "__get_sockaddr_rel",
        ),
        (1, Compiler._contents),
    ),
    **dict.fromkeys(
        ("__get_dynamic_array_len", "__get_rel_dynamic_array_len"), (1, Compiler._length)
    ),
    **dict.fromkeys(
        ("__get_bitmask", "__get_rel_bitmask", "__get_cpumask", "__get_rel_cpumask"),
        (1, Compiler._bitmask),
    ),
    **dict.fromkeys(("__print_hex", "__print_hex_str"), (2, Compiler._hex)),
    "__print_array": (3, Compiler._array),
    "__print_dynamic_array": (2, Compiler._dynamic_array),
    "__print_hex_dump": (7, Compiler._hex_dump),
    **dict.fromkeys(("__print_ns_to_secs", "__print_ns_without_secs"), (1, Compiler._seconds)),
    "sizeof": (1, Compiler._size),
}
