"""C tokens, and the cursor that a parser moves over them."""

from __future__ import annotations

import re
from typing import NoReturn


class UnparsableError(Exception):
    """The text is no expression, or one that only the kernel can evaluate."""


_TOKEN = re.compile(
    r"""\s*(?:
      (?P<string>"(?:[^"\\]|\\.)*")
    | (?P<char>'(?:[^'\\]|\\.[^']*)')
    | (?P<number>0[xX][0-9a-fA-F]+[uUlL]*|\d+[uUlL]*)
    | (?P<name>[A-Za-z_]\w*)
    | (?P<op>->|<<|>>|<=|>=|==|!=|&&|\|\||[-+*/%&|^~!<>?:()\[\]{},.;=])
    )""",
    re.VERBOSE | re.DOTALL,
)
_ESCAPE = re.compile(r"\\(?:x([0-9a-fA-F]+)|([0-7]{1,3})|(.))", re.DOTALL)
_ESCAPED = {"n": "\n", "t": "\t", "r": "\r", "a": "\a", "b": "\b", "f": "\f", "v": "\v"}


def _unescape(match: re.Match[str]) -> str:
    hexadecimal, octal, letter = match.groups()
    if letter is not None:
        return _ESCAPED.get(letter, letter)
    return chr(int(hexadecimal, 16) & 255 if hexadecimal else int(octal, 8) & 255)


def unquote(literal: str) -> str:
    """Return what a string or character literal, with its quotes, stands for."""
    return _ESCAPE.sub(_unescape, literal[1:-1])


class Tokens:
    """A list of tokens with a current one; `place` may be kept and set back.

    Kinds are "string", "char", "number", "name", "op" and, at last, "end".
    """

    def __init__(self, source: str) -> None:
        self.place = 0
        self._kinds: list[str] = []
        self._texts: list[str] = []
        position, source = 0, source.rstrip()
        while position < len(source):
            match = _TOKEN.match(source, position)
            if not match or not match.lastgroup:
                raise UnparsableError(source[position : position + 20])
            self._kinds.append(match.lastgroup)
            self._texts.append(match[match.lastgroup])
            position = match.end()
        self._kinds += ["end"] * 2
        self._texts += [""] * 2

    @property
    def kind(self) -> str:
        """Kind of the current token."""
        return self._kinds[self.place]

    @property
    def text(self) -> str:
        """Text of the current token as it is written."""
        return self._texts[self.place]

    @property
    def following(self) -> str:
        """Text of the token after the current one."""
        return self._texts[self.place + 1]

    def fail(self) -> NoReturn:
        """Raise UnparsableError at the current token."""
        raise UnparsableError(" ".join(self._texts[self.place : self.place + 5]))

    def advance(self) -> str:
        """Take the current token and return its text."""
        if self.kind == "end":
            self.fail()
        self.place += 1
        return self._texts[self.place - 1]

    def take(self, kind: str) -> str:
        """Take a token of this kind and return its text."""
        if self.kind != kind:
            self.fail()
        return self.advance()

    def accept(self, text: str) -> bool:
        """Take the current token if it is this operator or name."""
        if self.text == text and self.kind in ("op", "name"):
            self.place += 1
            return True
        return False

    def expect(self, text: str) -> None:
        """Take this operator or name."""
        if not self.accept(text):
            self.fail()

    def string(self) -> str:
        """Take a string literal, with those that follow it directly, and return its text."""
        text = unquote(self.take("string"))
        while self.kind == "string":
            text += unquote(self.advance())
        return text
