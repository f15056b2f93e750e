"""The tokens of a print format, as libtraceevent tells them apart."""

from __future__ import annotations

import re
from typing import Final

from ptrace_client.perf_script.print_nodes import NotUnderstoodError

OPERATOR, DELIMITER, WORD, STRING, CHARACTER, NEWLINE, END = (
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


class Tokens:
    """A place in a text; `kind` and `text` are of the token there."""

    def __init__(self, source: str) -> None:
        self._source, self._place = source, 0
        self.kind, self.text = END, ""

    def next(self, lines: bool = True) -> None:
        """Go to the next token; without `lines` newlines are not tokens."""
        while True:
            match = _TOKEN.match(self._source, self._place)
            if match is None or match.lastgroup is None:
                self.kind, self.text = END, ""
                return
            self._place = match.end()
            self.kind, self.text = match.lastgroup, match[match.lastgroup]
            if lines or self.kind != NEWLINE:
                break
        if self.kind == STRING:
            self.text = "".join(_ONE_STRING.findall(self.text))
        elif self.kind == CHARACTER:
            self.text = self.text[1:-1]

    def require(self, kind: str, text: str) -> None:
        """Raise NotUnderstoodError where the token is another one."""
        if (self.kind, self.text) != (kind, text):
            raise NotUnderstoodError

    def name(self) -> str:
        """Go to the next token, which is to be a word, and return it."""
        self.next()
        if self.kind != WORD:
            raise NotUnderstoodError
        return self.text

    def closing(self) -> None:
        """Go to the next token, which is to be a closing parenthesis."""
        self.next()
        self.require(DELIMITER, ")")
