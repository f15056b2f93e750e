"""The arguments of a print format as libtraceevent understands them.

That parser is looser than C: it knows few functions, no operator precedence of parentheses, and
where it meets what it does not know it keeps the arguments before. What perf's Python engine
tells scripts of flags and symbols hangs on the trees that it makes, so they are made here alike
(behaviour of event_read_print in tools/lib/traceevent/event-parse.c, Linux 6.1).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Final


class Kind(Enum):
    """What a node is."""

    # Nothing: in front of the operator of `-x`.
    NOTHING = "nothing"
    # Words or a string: `text`, escapes as they are written.
    ATOM = "atom"
    # REC->text.
    FIELD = "field"
    # __print_flags: `parts` is what is printed, `text` the delimiter, `table` the names.
    FLAGS = "flags"
    # __print_symbolic, likewise.
    SYMBOLS = "symbols"
    # A function over `parts`.
    FUNCTION = "function"
    # A string of the record.
    TEXT = "text"
    # A dynamic array, its length, or a bitmask of the record.
    DYNAMIC = "dynamic"
    # A cast of `parts` to type `text`.
    CAST = "cast"
    # Operator `text` between the two `parts`.
    OPERATOR = "operator"


@dataclass(slots=True)
class Node:
    """A part of an argument; see Kind."""

    kind: Kind = Kind.NOTHING
    text: str = ""
    parts: list[Node] = field(default_factory=list)
    # (value, name) as the entries of a table evaluate.
    table: list[tuple[str, str]] = field(default_factory=list)
    # Of operators: the higher, the looser it binds.
    level: int = 0

    def become(self, other: Node) -> None:
        """Take over what another node is."""
        self.kind, self.text, self.level = other.kind, other.text, other.level
        self.parts, self.table = other.parts, other.table

    def copy(self) -> Node:
        """Return a node that is what this one is."""
        return Node(self.kind, self.text, self.parts, self.table, self.level)


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


class _NotUnderstoodError(Exception):
    pass


_OPERATOR, _DELIMITER, _WORD, _STRING, _CHARACTER, _NEWLINE, _END = (
    "operator",
    "delimiter",
    "word",
    "string",
    "character",
    "newline",
    "end",
)
_TOKEN: Final = re.compile(
    r"""[ \t\v\f\r]*(?:
      (?P<newline>\n)
    | (?P<word>\w+)
    | (?P<string>"(?:.*?[^\\])??"(?:\s*"(?:.*?[^\\])??")*)
    | (?P<character>'(?:.*?[^\\])??')
    | (?P<delimiter>[(),])
    | (?P<operator>->|<<=|>>=|\+\+|--|&&|\|\||<<|>>|[-+|&<>!=]=|[!-/:-@\[-`{-~])
    )""",
    re.VERBOSE | re.DOTALL | re.ASCII,
)
_ONE_STRING: Final = re.compile(r'"((?:.*?[^\\])??)"', re.DOTALL)

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


class _Parser:
    """Recursive descent; each method leaves the token behind what it read in `kind`, `text`."""

    def __init__(self, source: str, fields: set[str], pending: Pending) -> None:
        self._source, self._place = source, 0
        self._fields, self._pending = fields, pending
        self._flags: set[str] = set()
        self._symbols: set[str] = set()
        self.kind, self.text = _END, ""
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
        except (_NotUnderstoodError, RecursionError):
            pass
        return PrintArgs(arguments, self._flags, self._symbols)

    def _format(self, arguments: list[Node]) -> None:
        self._next()
        while self.kind == _STRING:
            self._next(lines=False)
        if self.kind == _END:
            return
        self._require(_DELIMITER, ",")
        while True:
            node = Node()
            self._argument(node)
            if self.kind == _OPERATOR:
                self._operator(node)
                arguments.append(node)
                if self.kind == _NEWLINE:
                    # What the next line starts with is lost.
                    self._next(lines=False)
                if self.kind == _END:
                    return
                continue
            arguments.append(node)
            if (self.kind, self.text) != (_DELIMITER, ","):
                return

    def _next(self, lines: bool = True) -> None:
        """Go to the next token; without `lines` newlines are not tokens."""
        while True:
            match = _TOKEN.match(self._source, self._place)
            if match is None or match.lastgroup is None:
                self.kind, self.text = _END, ""
                return
            self._place = match.end()
            self.kind, self.text = match.lastgroup, match[match.lastgroup]
            if lines or self.kind != _NEWLINE:
                break
        if self.kind == _STRING:
            self.text = "".join(_ONE_STRING.findall(self.text))
        elif self.kind == _CHARACTER:
            self.text = self.text[1:-1]

    def _require(self, kind: str, text: str) -> None:
        if (self.kind, self.text) != (kind, text):
            raise _NotUnderstoodError

    def _name(self) -> str:
        self._next()
        if self.kind != _WORD:
            raise _NotUnderstoodError
        return self.text

    def _closing(self) -> None:
        self._next()
        self._require(_DELIMITER, ")")

    def _argument(self, node: Node) -> None:
        self._next()
        self._value(node)

    def _value(self, node: Node) -> None:
        """Read a value that starts with the current token, without operators behind it."""
        if self.kind == _WORD:
            self._word(node)
        elif self.kind in (_STRING, _CHARACTER):
            node.kind, node.text = Kind.ATOM, self.text
            self._next(lines=False)
        elif (self.kind, self.text) == (_DELIMITER, "("):
            self._parenthesis(node)
        elif self.kind in (_DELIMITER, _OPERATOR):
            node.kind, node.text = Kind.OPERATOR, self.text
            self._operator(node)
        else:
            raise _NotUnderstoodError

    def _word(self, node: Node) -> None:
        word = self.text
        if word == "REC":
            self._field(node)
            return
        self._next(lines=False)
        if (self.kind, self.text) == (_DELIMITER, "("):
            function = self._functions.get(word)
            if function is None:
                raise _NotUnderstoodError
            function(node)
            return
        while self.kind == _WORD:
            word += f" {self.text}"
            self._next(lines=False)
        node.kind, node.text = Kind.ATOM, word

    def _field(self, node: Node) -> None:
        self._next()
        self._require(_OPERATOR, "->")
        node.kind, node.text = Kind.FIELD, self._name()
        if self._pending.flags:
            self._pending.flags = False
            self._flags.add(node.text)
        elif self._pending.symbols:
            self._pending.symbols = False
            self._symbols.add(node.text)
        self._next()

    def _parenthesis(self, node: Node) -> None:
        self._argument(node)
        if self.kind == _OPERATOR:
            self._operator(node)
        self._require(_DELIMITER, ")")
        self._next(lines=False)
        if self.kind not in (_WORD, _STRING, _CHARACTER) and self.text != "(":
            return
        if node.kind != Kind.ATOM:
            raise _NotUnderstoodError
        item = Node()
        node.kind, node.parts = Kind.CAST, [item]
        self._value(item)

    def _operator(self, node: Node) -> None:
        """Read the operator that is the current token, and on; `node` is what it applies to."""
        while True:
            inner = self._apply(node)
            if self.kind != _OPERATOR or self.text == ":":
                return
            looser = _LEVELS.get(self.text, _UNKNOWN) > node.level
            if not looser and inner is None:
                raise _NotUnderstoodError
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
            raise _NotUnderstoodError
        self._wrap(node, operator, _LEVELS[operator])
        self._next(lines=False)
        if operator == "*" and (self.kind, self.text) == (_DELIMITER, ")"):
            self._pointer(node)
            return None
        return self._right_side(node)

    def _prefix(self, node: Node) -> Node:
        if self.text not in ("~", "!", "+", "-"):
            raise _NotUnderstoodError
        operand = Node()
        node.parts = [Node(), operand]
        self._argument(operand)
        return operand

    def _index(self, node: Node) -> None:
        index = Node()
        self._argument(index)
        self._require(_OPERATOR, "]")
        node.parts.append(index)
        self._next(lines=False)

    @staticmethod
    def _wrap(node: Node, operator: str, level: int) -> None:
        node.become(Node(Kind.OPERATOR, operator, [node.copy()], level=level))

    @staticmethod
    def _pointer(node: Node) -> None:
        """Make `type *)` the name of a type again."""
        [left] = node.parts
        if left.kind != Kind.ATOM:
            raise _NotUnderstoodError
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
        while self.kind == _OPERATOR and self.text != ":":
            self._operator(yes)
        self._require(_OPERATOR, ":")
        self._argument(no)
        node.parts.append(Node(Kind.OPERATOR, ":", [yes, no]))

    def _function(self, node: Node, count: int) -> None:
        node.kind = Kind.FUNCTION
        for number in range(1, count + 1):
            part = Node()
            self._argument(part)
            self._require(_DELIMITER, "," if number < count else ")")
            node.parts.append(part)
        self._next(lines=False)

    def _expect(self, node: Node) -> None:
        self._argument(node)
        self._require(_DELIMITER, ",")
        self._name()
        self._closing()
        self._next(lines=False)

    def _named(self, node: Node, kind: Kind) -> None:
        node.kind, node.text = kind, self._name()
        self._closing()
        self._next()

    def _dynamic_array_length(self, node: Node) -> None:
        self._named(node, Kind.DYNAMIC)
        if node.text not in self._fields:
            raise _NotUnderstoodError

    def _dynamic_array(self, node: Node) -> None:
        node.kind, node.text = Kind.DYNAMIC, self._name()
        if node.text not in self._fields:
            raise _NotUnderstoodError
        self._closing()
        self._next(lines=False)
        if (self.kind, self.text) == (_OPERATOR, "["):
            # An index ends it if it is a right one, and is passed over if not.
            self._argument(Node())
            if (self.kind, self.text) == (_OPERATOR, "]"):
                raise _NotUnderstoodError
            self._next(lines=False)

    def _print_flags(self, node: Node) -> None:
        self._pending.flags = True
        node.kind = Kind.FLAGS
        self._printed(node)
        self._next(lines=False)
        if self.kind in (_WORD, _STRING, _CHARACTER):
            node.text = self.text
            self._next(lines=False)
        self._require(_DELIMITER, ",")
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
        while self.kind == _OPERATOR:
            self._operator(printed)
        self._require(_DELIMITER, ",")

    def _table(self, node: Node) -> None:
        while True:
            self._next(lines=False)
            if (self.kind, self.text) != (_OPERATOR, "{"):
                break
            value, name = Node(), Node()
            self._argument(value)
            if self.kind == _OPERATOR:
                self._operator(value)
            self._require(_DELIMITER, ",")
            value_text = _evaluated(value)
            self._argument(name)
            self._require(_OPERATOR, "}")
            node.table.append((value_text, _evaluated(name)))
            self._next(lines=False)
            if (self.kind, self.text) != (_DELIMITER, ","):
                break
        self._require(_DELIMITER, ")")
        self._next(lines=False)


def _evaluated(node: Node) -> str:
    """Return an entry of a table as the text that its number is read from later."""
    while node.kind == Kind.CAST:
        [node] = node.parts
    if node.kind == Kind.ATOM:
        return node.text
    if node.kind == Kind.OPERATOR:
        return str(_number(node))
    raise _NotUnderstoodError


_NUMBER: Final = re.compile(r"\s*([-+]?)(0[xX][0-9a-fA-F]+|0[0-7]*|[0-9]+)")
_WIDTHS: Final = {
    **{f"{sign}{bits}": bits for sign in "us" for bits in (8, 16, 32)},
    **{
        f"{prefix}{name}": bits
        for prefix in ("", "unsigned ")
        for name, bits in (("char", 8), ("short", 16), ("int", 32))
    },
}


def leading_number(text: str) -> int:
    """Return the number that a text starts with, as strtol() with base 0 reads it; 0 for none."""
    match = _NUMBER.match(text)
    if match is None:
        return 0
    digits = match[2]
    octal = digits[0] == "0" and digits[1:2] not in ("x", "X")
    value = int(digits, 8) if octal else int(digits, 0)
    return -value if match[1] == "-" else value


def _signed(value: int) -> int:
    """Return the value as a long long holds it."""
    return (value + (1 << 63)) % (1 << 64) - (1 << 63)


_ARITHMETIC: Final[dict[str, Callable[[int, int], int]]] = {
    "|": lambda left, right: left | right,
    "||": lambda left, right: int(bool(left or right)),
    "&": lambda left, right: left & right,
    "&&": lambda left, right: int(bool(left and right)),
    "<<": lambda left, right: left << (right & 63),
    ">>": lambda left, right: left >> (right & 63),
    "<": lambda left, right: int(left < right),
    "<=": lambda left, right: int(left <= right),
    ">": lambda left, right: int(left > right),
    ">=": lambda left, right: int(left >= right),
    "==": lambda left, right: int(left == right),
    "!=": lambda left, right: int(left != right),
    "-": lambda left, right: left - right,
    "+": lambda left, right: left + right,
}


def _number(node: Node) -> int:
    if node.kind == Kind.ATOM:
        return max(-(1 << 63), min(leading_number(node.text), (1 << 63) - 1))
    if node.kind == Kind.CAST:
        bits = _WIDTHS.get(node.text, 64)
        return _signed(_number(node.parts[0]) & ((1 << bits) - 1))
    if node.kind != Kind.OPERATOR:
        raise _NotUnderstoodError
    if node.text == "~":
        return ~_number(node.parts[1])
    left, right = node.parts
    compute = _ARITHMETIC.get(node.text)
    if compute is None:
        raise _NotUnderstoodError
    absent = left.kind == Kind.NOTHING and node.text in ("-", "+")
    return _signed(compute(0 if absent else _number(left), _number(right)))
