"""The rules of filters: which names an event has, and what may be compared with what."""

from __future__ import annotations

from dataclasses import dataclass

from ptrace_formats.event_format import EventFormat, FormatField
from ptrace_proto import ptrace_pb2 as pb
from ptraced.diagnostics import nearest
from ptraced.filter_budget import Budget
from ptraced.filter_literals import character, cpu_ranges, is_character, number
from ptraced.filter_syntax import FilterError, Syntax
from ptraced.filter_tree import (
    INT_MIN,
    Arithmetic,
    Choice,
    Comparison,
    Constant,
    Field,
    InSet,
    Logical,
    Match,
    Memory,
    Not,
    Number,
    Pseudo,
    PseudoNumber,
    Truth,
    Unary,
)
from ptraced.glob_pattern import glob, literal
from ptraced.origin import USER_PROBES

# Comparisons whose results are computed with: each doubles the paths through a program.
_BRANCHING_MAX = 8
_PATTERN_ITEMS_MAX = 61
_LITERAL_BYTES_MAX = 1024
# Longest text that is read, bytes: PATH_MAX of pointers, else a whole record.
POINTED_MAX, DYNAMIC_MAX = 4096, 8192

_NUMBERS = (
    pb.FIELD_KIND_SIGNED,
    pb.FIELD_KIND_UNSIGNED,
    pb.FIELD_KIND_POINTER,
    pb.FIELD_KIND_BOOL,
)
_TEXTS = (pb.FIELD_KIND_CHAR_ARRAY, pb.FIELD_KIND_DYNAMIC_STRING)
_CHAR_POINTERS = ("char *", "const char *")
_PSEUDO = {
    "common_type": Pseudo.TYPE,
    "common_pid": Pseudo.THREAD,
    "_tid": Pseudo.THREAD,
    "_pid": Pseudo.PROCESS,
    "CPU": Pseudo.CPU,
    "cpu": Pseudo.CPU,
    "common_cpu": Pseudo.CPU,
    "_cpu": Pseudo.CPU,
    "COMM": Pseudo.COMM,
    "comm": Pseudo.COMM,
    "_comm": Pseudo.COMM,
}
_UNREADABLE = ("common_flags", "common_preempt_count")


@dataclass(frozen=True, slots=True)
class _Text:
    """A string that can be compared; `declared` is its C type, `longest` in bytes."""

    source: str | Pseudo
    declared: str
    longest: int
    memory: Memory | None = None


class Checker:
    """Turns the syntax of one filter into a tree that fits an event."""

    def __init__(self, format: EventFormat) -> None:
        self._format = format
        self._branching = 0
        self._budget = Budget()

    def check(self, syntax: Syntax) -> Number:
        """Return the tree; raises FilterError."""
        match syntax.kind:
            case "&&" | "||":
                return Logical(syntax.kind, tuple(map(self.check, syntax.operands)))
            case "?:":
                condition, then, otherwise = syntax.operands
                return Choice(self.check(condition), self._operand(then), self._operand(otherwise))
            case "unary" if syntax.text == "!":
                return Not(self.check(syntax.operands[0]))
            case "unary":
                return self._unary(syntax)
            case "binary":
                return self._binary(syntax)
            case "number":
                return self._counted(Constant(number(syntax)), syntax)
            case "string":
                return self._counted(Constant(character(syntax)), syntax)
            case "cpus":
                raise _fault(syntax, "a CPU list stands behind '==', '!=' or '&'")
        return self._counted(self._named_number(syntax), syntax)

    def _counted(self, node: Number, syntax: Syntax) -> Number:
        """The node, once it is sure that the program does not get too large by it."""
        problem = self._budget.spend(node)
        if problem:
            raise _fault(syntax, problem)
        return node

    def _operand(self, syntax: Syntax) -> Number:
        """A number that is computed with."""
        value = self.check(syntax)
        if isinstance(value, Truth | Choice):
            self._branching += 1
            if self._branching > _BRANCHING_MAX:
                raise _fault(
                    syntax, f"a filter can compute with at most {_BRANCHING_MAX} comparisons"
                )
        return value

    def _unary(self, syntax: Syntax) -> Number:
        (inner,) = syntax.operands
        if syntax.text == "-" and inner.kind == "number":
            value = -number(inner)
            if value < INT_MIN:
                raise _fault(syntax, f"{value} does not fit into 64 bits")
            return self._counted(Constant(value), syntax)
        operand = self._operand(inner)
        return operand if syntax.text == "+" else Unary(syntax.text, operand)

    def _binary(self, syntax: Syntax) -> Number:
        left, right = syntax.operands
        operator = syntax.text
        if right.kind == "cpus":
            return self._cpu_list(operator, left, right)
        if operator in ("==", "!=", "~"):
            if (text := self._text(left) or self._pointed_text(left, right)) is not None:
                return self._match(text, operator, left, right)
            if operator != "~" and (text := self._text(right)) is not None:
                return self._match(text, operator, right, left)
            if operator == "~":
                raise _fault(left, f"'~' takes a string field, {self._described(left)}")
        sides = self._side(left, right), self._side(right, left)
        if operator in ("==", "!=", "<", "<=", ">", ">="):
            return self._counted(Comparison(operator, *sides), syntax)
        return self._counted(Arithmetic(operator, *sides), syntax)

    def _side(self, syntax: Syntax, other: Syntax) -> Number:
        """An operand; if it is a string, the message says what the other one is."""
        if syntax.kind == "string" and not is_character(syntax) and other.kind == "name":
            raise _fault(
                syntax, f"{self._described(other)}; it is compared with a number, not a string"
            )
        return self._operand(syntax)

    def _described(self, syntax: Syntax) -> str:
        """What a name is, for messages."""
        if syntax.kind != "name":
            return "this is a number"
        value = self._named_number(syntax)
        field = self._format.field(syntax.text)
        declared = f" ({field.ctype})" if field and isinstance(value, Field) else ""
        return f"'{syntax.text}' is a number{declared}"

    def _field(self, syntax: Syntax, name: str) -> FormatField | Pseudo:
        field = self._format.field(name)
        if field is not None:
            return field
        if name in _PSEUDO:
            return _PSEUDO[name]
        if name in _UNREADABLE:
            raise _fault(syntax, f"'{name}' cannot be read by a BPF program, so not be filtered on")
        known = [*(field.name for field in self._format.fields), *_PSEUDO]
        hint = nearest(name, known)
        if not hint and self._format.system and not self._format.id:
            # Nothing but this tells of a probe's fields.
            hint = f" (it has {', '.join(field.name for field in self._format.fields)})"
        raise FilterError(
            f"{self._format.title} has no field '{name}'{hint}",
            syntax.start,
            syntax.start + len(name),
        )

    def _named_number(self, syntax: Syntax) -> Number:
        name, _, member = syntax.text.partition(".")
        field = self._field(syntax, name)
        if member:
            self._check_member(syntax, field, member)
        text = self._text(syntax)
        if text is not None:
            raise _fault(
                syntax,
                f"'{syntax.text}' is a string ({text.declared}): compare it "
                "by '==', '!=' or '~' with a quoted string",
            )
        if isinstance(field, Pseudo):
            return PseudoNumber(field)
        if field.kind not in _NUMBERS:
            raise _fault(
                syntax, f"'{name}' is binary data ({field.ctype}), filters take numbers and strings"
            )
        unsigned = field.size == 8 and field.kind != pb.FIELD_KIND_SIGNED
        return Field(name, unsigned)

    def _text(self, syntax: Syntax) -> _Text | None:
        """The string that a name stands for; None where it does not stand for a string."""
        if syntax.kind not in ("name", "member"):
            return None
        name, _, member = syntax.text.partition(".")
        field = self._field(syntax, name)
        if member:
            self._check_member(syntax, field, member)
            return _Text(name, "user's string", POINTED_MAX, Memory.USER)
        if field is Pseudo.COMM:
            return _Text(field, "char[16]", 16)
        if isinstance(field, FormatField) and field.pointed:
            return _Text(name, "char *", field.pointed, Memory.USER)
        if isinstance(field, FormatField) and field.kind in _TEXTS:
            dynamic = field.kind == pb.FIELD_KIND_DYNAMIC_STRING
            return _Text(name, field.ctype, DYNAMIC_MAX if dynamic else field.size)
        return None

    def _check_member(self, syntax: Syntax, field: FormatField | Pseudo, member: str) -> None:
        if member == "function":
            raise _fault(syntax, "'.function' is not supported: compare the address as a number")
        if member != "ustring":
            raise _fault(syntax, f"unknown '.{member}', only '.ustring' can follow a field")
        if isinstance(field, Pseudo) or field.kind != pb.FIELD_KIND_POINTER:
            raise _fault(syntax, "'.ustring' takes a pointer field")

    def _pointed_text(self, syntax: Syntax, other: Syntax) -> _Text | None:
        """A pointer to characters that is compared with a string."""
        field = self._format.field(syntax.text) if syntax.kind == "name" else None
        if field is None or field.ctype not in _CHAR_POINTERS or other.kind != "string":
            return None
        if self._format.system == "syscalls":
            raise _fault(
                syntax,
                f"'{syntax.text}' points into the program's memory: "
                f"write '{syntax.text}.ustring' for the string there",
            )
        # What a program's pointer leads to is the program's, too: read as the kernel's it would
        # tell any program what lies in the kernel, wherever it points.
        memory = Memory.USER if self._format.system in USER_PROBES else Memory.KERNEL
        return _Text(syntax.text, field.ctype, POINTED_MAX, memory)

    def _match(self, text: _Text, operator: str, subject: Syntax, value: Syntax) -> Number:
        wanted = self._string(text, operator, subject, value)
        negated = operator == "!="
        if operator == "~":
            # As in filter_parse_regex(): a pattern may be negated as a whole.
            negated, wanted = wanted.startswith(b"!"), wanted.removeprefix(b"!")
            pattern = glob(wanted)
        else:
            pattern = literal(wanted)
        longest = _LITERAL_BYTES_MAX if pattern.fixed else _PATTERN_ITEMS_MAX
        if len(pattern.items) > longest:
            kind = "string" if pattern.fixed else "pattern with '*'"
            raise _fault(value, f"this {kind} is too long, at most {longest} bytes")
        match = Match(text.source, text.memory, text.longest, pattern)
        self._counted(match, value)
        return Not(match) if negated else match

    def _string(self, text: _Text, operator: str, subject: Syntax, value: Syntax) -> bytes:
        """The constant that a string is compared with."""
        if value.kind == "string":
            return value.text[1:-1].encode(errors="surrogatepass")
        # A bare word, as older kernels take it.
        if value.kind == "name" and operator != "~" and not self._is_known(value.text):
            return value.text.encode()
        raise _fault(
            value,
            f"'{subject.text}' is a string ({text.declared}), it is compared with a quoted string",
        )

    def _is_known(self, name: str) -> bool:
        return self._format.field(name) is not None or name in _PSEUDO

    def _cpu_list(self, operator: str, left: Syntax, right: Syntax) -> Number:
        if operator not in ("==", "!=", "&"):
            raise _fault(right, "a CPU list stands behind '==', '!=' or '&'")
        value = self._operand(left)
        ranges = cpu_ranges(right)
        # As in do_filter_scalar_cpumask(): equal to a list means to its only CPU.
        single = len(ranges) == 1 and ranges[0][0] == ranges[0][1]
        found = InSet(value, ranges if operator == "&" or single else ())
        self._counted(found, right)
        return Not(found) if operator == "!=" else found


def _fault(syntax: Syntax, message: str) -> FilterError:
    return FilterError(message, syntax.start, syntax.end)
