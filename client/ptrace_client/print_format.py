"""The printf string of a print format, with C's conversions on Python's `%`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import cast

from ptrace_client.print_expression import CannotPrintError, Compiler, converted
from ptrace_proto import ptrace_pb2 as pb

# %p takes all letters and digits that follow it (pointer() in lib/vsprintf.c).
_CONVERSION = re.compile(
    r"%(?P<flags>[-+ #0]*)(?P<width>\*|\d*)(?:\.(?P<precision>\*|\d*))?"
    r"(?P<length>hh|ll|[hlLqjzZt]?)(?P<conversion>p[A-Za-z0-9]*|[a-zA-Z%])"
)
_LENGTH_BITS = {"hh": 8, "h": 16, "": 32}


def compile_format(
    parsed: pb.PrintFormat, fields: Mapping[str, pb.FieldInfo]
) -> Callable[[Mapping[str, object]], str]:
    """Return the function that prints a record, given by its values, in this format.

    Raises CannotPrintError where the format or one of its expressions cannot be evaluated.
    The function raises KeyError for a record without a field that the format prints.
    """
    compiler = Compiler(fields)
    namespace = compiler.namespace
    # Protobuf bounds how deep expressions can be nested, well below what Python compiles.
    source = f"def text(v):\n    return {_Writer(parsed, compiler).source()}\n"
    exec(compile(source, "<print format>", "exec"), namespace)
    return cast(Callable[[Mapping[str, object]], str], namespace["text"])


class _Writer:
    def __init__(self, parsed: pb.PrintFormat, compiler: Compiler) -> None:
        self._compiler = compiler
        self._format = parsed.format
        self._rest: Iterator[pb.Expression] = iter(parsed.arguments)
        self._arguments: list[str] = []

    def source(self) -> str:
        """Return the source of the whole text."""
        pieces = []
        end = 0
        for match in _CONVERSION.finditer(self._format):
            pieces.append(self._plain(self._format[end : match.start()]))
            pieces.append(self._conversion(match))
            end = match.end()
        pieces.append(self._plain(self._format[end:]))
        template = "".join(pieces)
        if not self._arguments:
            return repr(template.replace("%%", "%"))
        return f"{template!r} % ({', '.join(self._arguments)},)"

    @staticmethod
    def _plain(text: str) -> str:
        return text.replace("%", "%%")

    def _next(self) -> pb.Expression:
        expression = next(self._rest, None)
        if expression is None:
            raise CannotPrintError("fewer arguments than conversions")
        return expression

    def _conversion(self, match: re.Match[str]) -> str:
        conversion = match["conversion"]
        if conversion == "%":
            return "%%"
        flags, width = match["flags"], match["width"]
        if len(width) > 4 or len(match["precision"] or "") > 4:
            raise CannotPrintError("a width that no format has")
        star = self._star() if width == "*" else None
        precision = match["precision"]
        if conversion[0] == "p":
            return self._pointer(flags, width, star, conversion[1:])
        if star is not None:
            self._arguments.append(f"p.width({star})")
        limit = self._star() if precision == "*" else precision
        if conversion == "s":
            text = self._compiler.string(self._next())
            self._arguments.append(text if limit is None else f"p.cut({text}, {limit or 0})")
            return f"%{'-' if '-' in flags else ''}{width}s"
        number = self._compiler.number(self._next())
        if conversion == "c":
            self._arguments.append(f"p.character({number.source})")
            return f"%{'-' if '-' in flags else ''}{width}s"
        if conversion not in "diuxXo":
            raise CannotPrintError(f"%{conversion}")
        bits = _LENGTH_BITS.get(match["length"], 64)
        value = converted(number, bits, conversion in "di")
        return self._integer(flags, width, limit, "d" if conversion in "iu" else conversion, value)

    def _star(self) -> str:
        return converted(self._compiler.number(self._next()), 32, True)

    def _integer(
        self, flags: str, width: str, precision: str | None, conversion: str, value: str
    ) -> str:
        if precision is not None:
            # C drops the 0 flag where a precision is given.
            flags = flags.replace("0", "")
            if not precision.isdigit() and precision:
                raise CannotPrintError("a precision from the record")
            conversion = f".{precision or 0}{conversion}"
        if "#" in flags and conversion[-1] in "xXo":
            if width == "*":
                raise CannotPrintError("# with a width from the record")
            self._arguments.append(f"p.alternate('%{flags}{width}{conversion}', {value})")
            return "%s"
        self._arguments.append(value)
        return f"%{flags.replace('#', '')}{width}{conversion}"

    def _pointer(self, flags: str, width: str, star: str | None, kind: str) -> str:
        expression = self._next()
        if kind.startswith("b"):
            array = self._compiler.bytes(expression)
            bits = star or width or "0"
            name = f"p.bit_list({array}, {bits})" if kind == "bl" else f"p.bitmask({array})"
            self._arguments.append(name)
            return "%s"
        if kind.startswith("h"):
            separator = {"C": ":", "D": "-", "N": ""}.get(kind[1:2], " ")
            array = self._compiler.bytes(expression)
            self._arguments.append(f"p.hex_bytes({array}, {star or width or '1'}, {separator!r})")
            return "%s"
        if star is not None:
            self._arguments.append(f"p.width({star})")
        self._arguments.append(self._address(kind, expression))
        return f"%{'-' if '-' in flags else ''}{width}s"

    def _address(self, kind: str, expression: pb.Expression) -> str:
        if kind[:1] in ("M", "m"):
            return f"p.mac_address({self._compiler.bytes(expression)}, {kind!r})"
        if kind[:1] in ("I", "i"):
            return f"p.ip_address({self._compiler.bytes(expression)}, {kind!r})"
        if kind[:1] == "U":
            return f"p.uuid({self._compiler.bytes(expression)}, {kind!r})"
        value = converted(self._compiler.number(expression), 64, False)
        # Symbols need the kernel's table, which an address alone does not bring along.
        return f"hex({value})" if kind[:1] in ("s", "S", "f", "F") else f"p.pointer({value})"
