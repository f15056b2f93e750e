"""Filters as C for BPF, made of nothing but the checked tree and numbers.

Fields are loaded from the context of a tracepoint program, which is the kernel's record: its
verifier rule (tp_prog_is_valid_access in kernel/trace/bpf_trace.c) wants loads at a multiple
of their size, behind the first 8 bytes.
"""

from __future__ import annotations

from ptrace_formats.event_format import EventFormat
from ptrace_proto import ptrace_pb2 as pb
from ptraced.filter import Filter
from ptraced.filter_text_c import TextEmitter
from ptraced.filter_tree import (
    INT_MAX,
    INT_MIN,
    Arithmetic,
    Choice,
    Comparison,
    Constant,
    Field,
    InSet,
    Logical,
    Match,
    Not,
    Number,
    Pseudo,
    PseudoNumber,
    Unary,
    walk,
)

# Is in filters that read texts into memory of their CPU.
ROOM = "filter_room.lookup"
_DIVISIONS = {"/": "filter_divide", "%": "filter_modulo"}


def emit(filter: Filter, format: EventFormat, name: str) -> str:
    """Return C that defines `static bool NAME(void *ctx)`; it needs bpf/filter.h before it."""
    texts = TextEmitter(format, name)
    result = _Emitter(format, texts).truth(filter.root)
    used = {node.source for node in walk(filter.root) if isinstance(node, Match | PseudoNumber)}
    # An address to compute with; what is loaded directly must not be mixed up with it.
    lines = ["u64 record = (u64)ctx;", "FILTER_OPAQUE(record);"]
    if used & {Pseudo.THREAD, Pseudo.PROCESS}:
        lines.append("u64 task = bpf_get_current_pid_tgid();")
    if Pseudo.COMM in used:
        lines.append("u64 comm[2] = {};\n\n\tbpf_get_current_comm(comm, sizeof(comm));")
    if texts.needs_room:
        lines.append(f"u32 zero = 0;\n\tstruct filter_room *room = {ROOM}(&zero);\n")
        lines.append("if (!room)\n\t\treturn false;")
    lines.append(f"return {result};")
    body = "\n".join(f"\t{line}" for line in lines)
    function = f"static __always_inline bool {name}(void *ctx)\n{{\n{body}\n}}\n"
    return "\n".join([*texts.definitions, function])


class _Emitter:
    """Expressions in C. Numbers come out as s64, or as u64 where the node is unsigned."""

    def __init__(self, format: EventFormat, texts: TextEmitter) -> None:
        self._format = format
        self._texts = texts

    def truth(self, node: Number) -> str:
        """An expression for whether the node is not zero."""
        match node:
            case Logical():
                return f"({f' {node.operator} '.join(map(self.truth, node.terms))})"
            case Not():
                return f"(!{self.truth(node.operand)})"
            case Match():
                return self._texts.match(node)
            case Comparison():
                left, right = self._converted(node.left, node.right)
                return f"({left} {node.operator} {right})"
            case InSet():
                return self._in_set(node)
            case _:
                return f"({self.number(node)} != 0)"

    def number(self, node: Number) -> str:
        match node:
            case Constant():
                return _constant(node.value)
            case Field():
                return self._field(node)
            case PseudoNumber():
                return self._pseudo(node.source)
            case Unary():
                kind = "u64" if node.unsigned else "s64"
                # Unsigned, as overflow of signed numbers is undefined in C.
                return f"({kind})({node.operator}(u64){self.number(node.operand)})"
            case Arithmetic():
                return self._arithmetic(node)
            case Choice():
                then, otherwise = self._converted(node.then, node.otherwise)
                return f"({self.truth(node.condition)} ? {then} : {otherwise})"
            case Comparison() | InSet() | Match() | Not() | Logical():
                return f"(s64){self.truth(node)}"

    def _converted(self, left: Number, right: Number) -> tuple[str, str]:
        """Both sides in the type in which C would compute with them."""
        sides = self.number(left), self.number(right)
        if left.unsigned == right.unsigned:
            return sides
        return f"(u64){sides[0]}", f"(u64){sides[1]}"

    def _arithmetic(self, node: Arithmetic) -> str:
        kind = "u64" if node.unsigned else "s64"
        left, right = self.number(node.left), self.number(node.right)
        if node.operator in _DIVISIONS:
            suffix = "" if node.unsigned else "_signed"
            return f"{_DIVISIONS[node.operator]}{suffix}({left}, {right})"
        if node.operator in ("<<", ">>"):
            base = "s64" if node.operator == ">>" and not node.unsigned else "u64"
            return f"({kind})(({base}){left} {node.operator} ({right} & 63))"
        return f"({kind})((u64){left} {node.operator} (u64){right})"

    def _in_set(self, node: InSet) -> str:
        tests = " || ".join(f"value - {low}ULL <= {high - low}ULL" for low, high in node.ranges)
        value = self.number(node.value)
        return f"({{ u64 value = {value}; {tests}; }})" if tests else "false"

    def _field(self, node: Field) -> str:
        field = self._format.field(node.name)
        assert field is not None
        bits = 8 * field.size
        kind = f"{'s' if field.kind == pb.FIELD_KIND_SIGNED else 'u'}{bits}"
        if field.offset % field.size:
            load = f"({kind})filter_unaligned(record, {field.offset}, {field.size})"
        else:
            load = f"({kind})FILTER_LOAD(u{bits}, {field.offset})"
        return load if node.unsigned else f"(s64){load}"

    def _pseudo(self, source: Pseudo) -> str:
        match source:
            case Pseudo.TYPE:
                return _constant(self._format.id)
            case Pseudo.THREAD:
                return "(s64)(s32)task"
            case Pseudo.PROCESS:
                return "(s64)(s32)(task >> 32)"
            case _:
                return "(s64)bpf_get_smp_processor_id()"


def _constant(value: int) -> str:
    if value > INT_MAX:
        return f"{value}ULL"
    # C has no negative literals: the smallest number's digits would not fit.
    return f"({value + 1}LL - 1)" if value == INT_MIN else f"({value}LL)"
