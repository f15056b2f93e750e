"""C expressions over the fields of a record, as the formats of tracefs contain them.

What depends on no field is computed at once, with C's types, so that only what
differs from record to record remains to be evaluated.
"""

from __future__ import annotations

from collections.abc import Collection

from ptrace_formats.c_tokens import Tokens, UnparsableError, unquote
from ptrace_formats.c_types import (
    BOOL,
    INT,
    LONG,
    UNSIGNED_LONG,
    Constant,
    common_type,
    convert,
    fold_binary,
    fold_unary,
    is_type_word,
    literal_type,
    named_type,
)
from ptrace_proto import ptrace_pb2 as pb

Node = Constant | pb.Expression

_PRECEDENCE = {
    operator: level
    for level, operators in enumerate(
        ("||", "&&", "|", "^", "&", "== !=", "< <= > >=", "<< >>", "+ -", "* / %"), start=2
    )
    for operator in operators.split()
}
_TERNARY = 1
_QUALIFIERS = frozenset({"const", "volatile", "__user", "__force"})


def call(name: str, *arguments: Node) -> pb.Expression:
    """Return the expression that applies an operator or function."""
    made = pb.Call(name=name, arguments=[as_expression(argument) for argument in arguments])
    return pb.Expression(call=made)


def as_expression(node: Node) -> pb.Expression:
    """Return a node as an expression: a constant as a number, cast where int or long is wrong."""
    if not isinstance(node, Constant):
        return node
    value = convert(node.value, LONG).value
    number = pb.Expression(number=value)
    if node.type == literal_type(value, "", decimal=True):
        return number
    return call(f"cast:{node.type.name}", number)


class ExpressionParser(Tokens):
    """Precedence climbing over C tokens.

    `fields` are the names that REC-> may have.
    """

    def __init__(self, source: str, fields: Collection[str]) -> None:
        super().__init__(source)
        self._fields = fields
        self._locals: dict[str, Node] = {}

    def function(self, name: str) -> Node:
        """Parse the rest of a function call, behind its opening parenthesis."""
        raise UnparsableError(name)

    def constant(self, name: str) -> int:
        """Return the value of a name that is neither a field nor a function."""
        raise UnparsableError(name)

    def value(self, lowest: int = _TERNARY) -> Node:
        """Parse an expression of operators that bind at least as tightly as `lowest`."""
        left = self._operand()
        while self.kind == "op":
            operator = self.text
            if operator == "?" and lowest <= _TERNARY:
                self.advance()
                left = self._choice(left)
                continue
            level = _PRECEDENCE.get(operator, 0)
            if level < max(lowest, _TERNARY + 1):
                break
            self.advance()
            left = self._binary(operator, left, self.value(level + 1))
        return left

    def field(self) -> pb.Expression:
        """Take the name of a field."""
        name = self.take("name")
        if name not in self._fields:
            raise UnparsableError(name)
        return pb.Expression(field=name)

    def size(self) -> Node:
        """Parse the rest of sizeof, behind its opening parenthesis."""
        words, pointers = self._type_words()
        if words:
            of = UNSIGNED_LONG if pointers else named_type(words)
            if of is None:
                raise UnparsableError(" ".join(words))
            node: Node = Constant(max(of.bits // 8, 1), UNSIGNED_LONG)
        else:
            node = call("sizeof", self._operand())
        self.expect(")")
        return node

    def _choice(self, condition: Node) -> Node:
        yes = self.value()
        self.expect(":")
        no = self.value()
        if not isinstance(condition, Constant):
            return call("?:", condition, yes, no)
        if isinstance(yes, Constant) and isinstance(no, Constant):
            chosen = yes if condition.value else no
            return convert(chosen.value, common_type(yes.type, no.type))
        return yes if condition.value else no

    @staticmethod
    def _binary(operator: str, left: Node, right: Node) -> Node:
        if not isinstance(left, Constant) or not isinstance(right, Constant):
            return call(operator, left, right)
        folded = fold_binary(operator, left, right)
        if folded is None:
            raise UnparsableError(operator)
        return folded

    def _operand(self) -> Node:
        kind = self.kind
        if kind == "string":
            return self._indexed(pb.Expression(text=self.string()))
        token = self.advance()
        if kind == "number":
            return _literal(token)
        if kind == "char":
            return Constant(ord(unquote(token)[:1] or "\0"), INT)
        if kind == "name":
            return self._indexed(self._name(token))
        if token == "(":
            return self._parenthesis()
        if token in ("-", "~", "!"):
            return self._unary("neg" if token == "-" else token, self._operand())
        if token in ("+", "&"):
            # An address taken is that of the field's bytes, which the field stands for.
            return self._operand()
        raise UnparsableError(token)

    @staticmethod
    def _unary(operator: str, operand: Node) -> Node:
        if isinstance(operand, Constant):
            return fold_unary(operator, operand)
        return call(operator, operand)

    def _indexed(self, node: Node) -> Node:
        while self.accept("["):
            node = call("[]", node, self.value())
            self.expect("]")
        return node

    def _parenthesis(self) -> Node:
        if self.accept("{"):
            return self._statements()
        if self.text == "REC" and self.following == ")":
            self.place += 2
            self.expect("->")
            return self._indexed(self.field())
        cast = self._cast()
        if cast is not None:
            return cast
        node = self.value()
        self.expect(")")
        return self._indexed(node)

    def _cast(self) -> Node | None:
        """Parse `type) operand`, or go back to where it started and return None."""
        start = self.place
        words, pointers = self._type_words()
        surely = pointers or any(is_type_word(word) for word in words)
        if words and self.accept(")") and (surely or self._starts_operand()):
            return self._cast_to(words, pointers, self._operand())
        self.place = start
        return None

    def _starts_operand(self) -> bool:
        return self.kind in ("number", "name", "string", "char") or self.text in ("(", "~", "!")

    def _type_words(self) -> tuple[list[str], int]:
        words, pointers = [], 0
        while self.kind == "name" and self.text != "REC":
            word = self.advance()
            if word not in _QUALIFIERS:
                words.append(word)
        while words and self.accept("*"):
            pointers += 1
        return words, pointers

    @staticmethod
    def _cast_to(words: list[str], pointers: int, operand: Node) -> Node:
        to = named_type(words)
        if pointers:
            if isinstance(operand, Constant):
                return convert(operand.value, UNSIGNED_LONG)
            pointed = to.name if to and to != BOOL and pointers == 1 else "void"
            return call(f"cast:{pointed} *", operand)
        if to is None:
            # A typedef that no table has: most are as wide as what they are made from.
            return operand
        if isinstance(operand, Constant):
            return convert(operand.value, to)
        return call(f"cast:{'bool' if to == BOOL else to.name}", operand)

    def _statements(self) -> Node:
        """Parse `({ type name = value; ... value; })`, which min() and max() leave behind."""
        while True:
            start = self.place
            words, pointers = self._type_words()
            if len(words) < 2 or not self.accept("="):
                self.place = start
                break
            self._locals[words[-1]] = self._cast_to(words[:-1], pointers, self.value())
            self.expect(";")
        node = self.value()
        for closing in (";", "}", ")"):
            self.expect(closing)
        return node

    def _name(self, name: str) -> Node:
        if name == "REC":
            self.expect("->")
            return self.field()
        if self.accept("("):
            return self.function(name)
        if name in self._locals:
            return self._locals[name]
        value = self.constant(name)
        return Constant(value, literal_type(value, "", decimal=True))


def _literal(token: str) -> Constant:
    digits = token.rstrip("uUlL")
    decimal = not digits.startswith("0")
    value = int(digits, 10 if decimal else 16 if digits[1:2] in ("x", "X") else 8)
    return Constant(value, literal_type(value, token[len(digits) :], decimal))
