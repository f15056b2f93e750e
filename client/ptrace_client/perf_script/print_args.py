"""The arguments of a print format as libtraceevent understands them.

That parser is looser than C: it knows few functions, no operator precedence of parentheses, and
where it meets what it does not know it keeps the arguments before. What perf's Python engine
tells scripts of flags and symbols hangs on the trees that it makes, so they are made here alike
(behaviour of event_read_print in tools/lib/traceevent/event-parse.c, Linux 6.1).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from ptrace_client.perf_script.print_nodes import Kind, Node, NotUnderstoodError, evaluated
from ptrace_client.perf_script.print_tokens import (
    CHARACTER,
    DELIMITER,
    END,
    NEWLINE,
    OPERATOR,
    STRING,
    WORD,
    Tokens,
)


@dataclass(slots=True)
class PrintArgs:
    """The arguments of an event's print format, up to the first that is not understood."""

    arguments: list[Node]
    # Names of the fields that the parser marks as printed by a table.
    flags: set[str]
    symbols: set[str]


@dataclass(slots=True)
class Pending:
    """Tables whose field has not come yet; libtraceevent looks for it even in the next event."""

    flags: bool = False
    symbols: bool = False


def parse(print_fmt: str, fields: set[str], pending: Pending | None = None) -> PrintArgs:
    """Parse what stands behind `print fmt:`; `fields` are the event's own."""
    return _Parser(print_fmt, fields, pending or Pending()).parse()


# The higher, the looser; of what is not in here it has no idea.
_LEVELS: Final = {
    operator: level
    for level, operators in {
        3: "++ --",
        4: "~ !",
        6: "* / %",
        7: "+ -",
        8: "<< >>",
        9: "< > <= >=",
        10: "== !=",
        11: "&",
        12: "^",
        13: "|",
        14: "&&",
        15: "||",
        16: "?",
    }.items()
    for operator in operators.split()
}
_UNKNOWN: Final = -1
_BINARY: Final = frozenset(_LEVELS) - {"++", "--", "~", "!", "?"}


class _Parser(Tokens):
    """Recursive descent; each method leaves the place at the token behind what it read."""

    def __init__(self, source: str, fields: set[str], pending: Pending) -> None:
        super().__init__(source)
        self._fields, self._pending = fields, pending
        self._flags: set[str] = set()
        self._symbols: set[str] = set()
        self._functions: dict[str, Callable[[Node], None]] = {
            "__print_flags": self._print_flags,
            "__print_symbolic": self._print_symbolic,
            "__print_hex": lambda node: self._function(node, 2),
            "__print_hex_str": lambda node: self._function(node, 2),
            "__print_array": lambda node: self._function(node, 3),
            "__builtin_expect": self._expect,
        }
        for relative in ("", "rel_"):
            self._functions |= {
                f"__get_{relative}str": lambda node: self._named(node, Kind.TEXT),
                f"__get_{relative}bitmask": lambda node: self._named(node, Kind.DYNAMIC),
                f"__get_{relative}dynamic_array": self._dynamic_array,
                f"__get_{relative}dynamic_array_len": self._dynamic_array_length,
            }

    def parse(self) -> PrintArgs:
        arguments: list[Node] = []
        try:
            self._format(arguments)
        except (NotUnderstoodError, RecursionError):
            pass
        return PrintArgs(arguments, self._flags, self._symbols)

    def _format(self, arguments: list[Node]) -> None:
        self.next()
        while self.kind == STRING:
            self.next(lines=False)
        if self.kind == END:
            return
        self.require(DELIMITER, ",")
        while True:
            node = Node()
            self._argument(node)
            if self.kind == OPERATOR:
                self._operator(node)
                arguments.append(node)
                if self.kind == NEWLINE:
                    # What the next line starts with is lost.
                    self.next(lines=False)
                if self.kind == END:
                    return
                continue
            arguments.append(node)
            if (self.kind, self.text) != (DELIMITER, ","):
                return

    def _argument(self, node: Node) -> None:
        self.next()
        self._value(node)

    def _value(self, node: Node) -> None:
        """Read a value that starts with the current token, without operators behind it."""
        if self.kind == WORD:
            self._word(node)
        elif self.kind in (STRING, CHARACTER):
            node.kind, node.text = Kind.ATOM, self.text
            self.next(lines=False)
        elif (self.kind, self.text) == (DELIMITER, "("):
            self._parenthesis(node)
        elif self.kind in (DELIMITER, OPERATOR):
            node.kind, node.text = Kind.OPERATOR, self.text
            self._operator(node)
        else:
            raise NotUnderstoodError

    def _word(self, node: Node) -> None:
        word = self.text
        if word == "REC":
            self._field(node)
            return
        self.next(lines=False)
        if (self.kind, self.text) == (DELIMITER, "("):
            function = self._functions.get(word)
            if function is None:
                raise NotUnderstoodError
            function(node)
            return
        while self.kind == WORD:
            word += f" {self.text}"
            self.next(lines=False)
        node.kind, node.text = Kind.ATOM, word

    def _field(self, node: Node) -> None:
        self.next()
        self.require(OPERATOR, "->")
        node.kind, node.text = Kind.FIELD, self.name()
        if self._pending.flags:
            self._pending.flags = False
            self._flags.add(node.text)
        elif self._pending.symbols:
            self._pending.symbols = False
            self._symbols.add(node.text)
        self.next()

    def _parenthesis(self, node: Node) -> None:
        self._argument(node)
        if self.kind == OPERATOR:
            self._operator(node)
        self.require(DELIMITER, ")")
        self.next(lines=False)
        if self.kind not in (WORD, STRING, CHARACTER) and self.text != "(":
            return
        if node.kind != Kind.ATOM:
            raise NotUnderstoodError
        item = Node()
        node.kind, node.parts = Kind.CAST, [item]
        self._value(item)

    def _operator(self, node: Node) -> None:
        """Read the operator that is the current token, and on; `node` is what it applies to."""
        while True:
            inner = self._apply(node)
            if self.kind != OPERATOR or self.text == ":":
                return
            looser = _LEVELS.get(self.text, _UNKNOWN) > node.level
            if not looser and inner is None:
                raise NotUnderstoodError
            node = node if looser or inner is None else inner

    def _apply(self, node: Node) -> Node | None:
        """Read one operator; return the node that those which bind tighter apply to."""
        operator = self.text
        if node.kind == Kind.OPERATOR and not node.parts:
            return self._prefix(node)
        if operator == "?":
            self._wrap(node, operator, 0)
            self._choice(node)
            return None
        if operator == "[":
            self._wrap(node, operator, 0)
            self._index(node)
            return None
        if operator not in _BINARY:
            raise NotUnderstoodError
        self._wrap(node, operator, _LEVELS[operator])
        self.next(lines=False)
        if operator == "*" and (self.kind, self.text) == (DELIMITER, ")"):
            self._pointer(node)
            return None
        return self._right_side(node)

    def _prefix(self, node: Node) -> Node:
        if self.text not in ("~", "!", "+", "-"):
            raise NotUnderstoodError
        operand = Node()
        node.parts = [Node(), operand]
        self._argument(operand)
        return operand

    def _index(self, node: Node) -> None:
        index = Node()
        self._argument(index)
        self.require(OPERATOR, "]")
        node.parts.append(index)
        self.next(lines=False)

    @staticmethod
    def _wrap(node: Node, operator: str, level: int) -> None:
        node.become(Node(Kind.OPERATOR, operator, [node.copy()], level=level))

    @staticmethod
    def _pointer(node: Node) -> None:
        """Make `type *)` the name of a type again."""
        [left] = node.parts
        if left.kind != Kind.ATOM:
            raise NotUnderstoodError
        left.text += " *"
        node.become(left)

    def _right_side(self, node: Node) -> Node:
        """Read the right operand; return the node that operators which bind tighter go to.

        Of a right side that is an operation itself, in parentheses even, the left operand is
        taken if it binds looser.
        """
        right = Node()
        self._value(right)
        if right.kind != Kind.OPERATOR or _LEVELS[node.text] >= _LEVELS.get(right.text, _UNKNOWN):
            node.parts.append(right)
            return right
        outer = right.copy()
        node.parts.append(outer.parts[0])
        right.become(node)
        node.become(outer)
        node.parts = [right, *outer.parts[1:]]
        return right

    def _choice(self, node: Node) -> None:
        yes, no = Node(), Node()
        self._argument(yes)
        while self.kind == OPERATOR and self.text != ":":
            self._operator(yes)
        self.require(OPERATOR, ":")
        self._argument(no)
        node.parts.append(Node(Kind.OPERATOR, ":", [yes, no]))

    def _function(self, node: Node, count: int) -> None:
        node.kind = Kind.FUNCTION
        for number in range(1, count + 1):
            part = Node()
            self._argument(part)
            self.require(DELIMITER, "," if number < count else ")")
            node.parts.append(part)
        self.next(lines=False)

    def _expect(self, node: Node) -> None:
        self._argument(node)
        self.require(DELIMITER, ",")
        self.name()
        self.closing()
        self.next(lines=False)

    def _named(self, node: Node, kind: Kind) -> None:
        node.kind, node.text = kind, self.name()
        self.closing()
        self.next()

    def _dynamic_array_length(self, node: Node) -> None:
        self._named(node, Kind.DYNAMIC)
        if node.text not in self._fields:
            raise NotUnderstoodError

    def _dynamic_array(self, node: Node) -> None:
        node.kind, node.text = Kind.DYNAMIC, self.name()
        if node.text not in self._fields:
            raise NotUnderstoodError
        self.closing()
        self.next(lines=False)
        if (self.kind, self.text) == (OPERATOR, "["):
            # An index ends it if it is a right one, and is passed over if not.
            self._argument(Node())
            if (self.kind, self.text) == (OPERATOR, "]"):
                raise NotUnderstoodError
            self.next(lines=False)

    def _print_flags(self, node: Node) -> None:
        self._pending.flags = True
        node.kind = Kind.FLAGS
        self._printed(node)
        self.next(lines=False)
        if self.kind in (WORD, STRING, CHARACTER):
            node.text = self.text
            self.next(lines=False)
        self.require(DELIMITER, ",")
        self._table(node)

    def _print_symbolic(self, node: Node) -> None:
        self._pending.symbols = True
        node.kind = Kind.SYMBOLS
        self._printed(node)
        self._table(node)

    def _printed(self, node: Node) -> None:
        printed = Node()
        node.parts = [printed]
        self._argument(printed)
        while self.kind == OPERATOR:
            self._operator(printed)
        self.require(DELIMITER, ",")

    def _table(self, node: Node) -> None:
        while True:
            self.next(lines=False)
            if (self.kind, self.text) != (OPERATOR, "{"):
                break
            value, name = Node(), Node()
            self._argument(value)
            if self.kind == OPERATOR:
                self._operator(value)
            self.require(DELIMITER, ",")
            value_text = evaluated(value)
            self._argument(name)
            self.require(OPERATOR, "}")
            node.table.append((value_text, evaluated(name)))
            self.next(lines=False)
            if (self.kind, self.text) != (DELIMITER, ","):
                break
        self.require(DELIMITER, ")")
        self.next(lines=False)
