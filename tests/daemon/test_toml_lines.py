"""Each key of a TOML text is found on its line, whatever the text is written like."""

from __future__ import annotations

import pytest

from ptraced.toml_lines import Lines

TEXT = '''# a comment with [brackets] and "quotes
plain = 1
"quoted.key".dotted = """text
[no.header]
no = "key" """ # a comment

[table]  # = 1
  list = [ # none = 1
    "a]", 'b',
  ]
after = { inner = 1, "=" = "]" }

[[rule]]
name = "one"
[rule.quota]
sessions = 1
[[rule]]
name = \'\'\'
[[rule]]\'\'\'
"quota"."programs" = 2
[[rule.sub]]
x = """"quotes\\""""""
[[ rule . "sub" ]]
y = 1
'''


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (("plain",), 2),
        (("quoted.key", "dotted"), 3),
        (("table",), 7),
        (("table", "list"), 8),
        (("table", "after"), 11),
        (("table", "after", "inner"), 11),
        (("rule",), 13),
        (("rule", 0), 13),
        (("rule", 0, "name"), 14),
        (("rule", 0, "quota"), 15),
        (("rule", 0, "quota", "sessions"), 16),
        (("rule", 1), 17),
        (("rule", 1, "name"), 18),
        (("rule", 1, "quota", "programs"), 20),
        (("rule", 1, "sub", 0), 21),
        (("rule", 1, "sub", 0, "x"), 22),
        (("rule", 1, "sub", 1, "y"), 24),
        (("rule", 1, "missing"), 17),
        (("missing", "key"), 1),
    ],
)
def test_lines_of_keys(path: tuple[str | int, ...], line: int) -> None:
    assert Lines(TEXT).of(*path) == line


def test_lines_end_as_on_other_systems() -> None:
    lines = Lines(TEXT.replace("\n", "\r\n"))
    assert lines.of("rule", 1, "sub", 1, "y") == 24
