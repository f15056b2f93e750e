"""Hints for scripts of Python 2: by what they raise when Python 3 runs them."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ptrace_client.perf_script.python2 import python2_hint
from ptrace_client.perf_script.script import die, load_perf_script
from ptrace_client.script_errors import EndRun


def raised(text: str) -> BaseException:
    """Return what running a text raises."""
    try:
        exec(compile(text, "script.py", "exec", dont_inherit=True), {})
    except Exception as error:
        return error
    raise AssertionError(f"{text!r} raised nothing")


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ('print "x"', "print needs parentheses"),
        ("def f():\n\tprint\n\tprint 'a', 3,\n", "print needs parentheses"),
        ('print "%5d" % (1), "x"', "print needs parentheses"),
        ("import sys\nprint >>sys.stderr, 'x'", '"print >>f, x" is'),
        ("exec 'x'", "exec needs parentheses"),
        ("try:\n  pass\nexcept ValueError, e:\n  pass", '"except X as e:"'),
        ("x = 0644", "0o644"),
        ("x = 10L", "no L"),
        ("x = 0xffL", "no L"),
        ("if 1 <> 2: pass", '"!="'),
        ("x = `1`", "repr(x)"),
        ("raise ValueError, 'x'", '"raise X(y)"'),
        ("x = ur'x'", "ur'x'"),
        ("if 1:\n        x = 1\n\ty = 2\n", "tabs or by blanks"),
        ("xrange(1)", "xrange is range"),
        ("def f():\n  return unicode('x')\nf()", "unicode is str"),
        ("raw_input()", "raw_input is input"),
        ("import thread", "thread is _thread"),
        ("from Queue import Queue", "Queue is queue"),
        ("import ConfigParser", "ConfigParser is configparser"),
        ("{}.iteritems()", "iteritems is items"),
        ("{}.has_key(1)", "y in x"),
        ("import sys; sys.maxint", "sys.maxsize"),
    ],
)
def test_texts_of_python_2(text: str, hint: str) -> None:
    found = python2_hint(raised(text))
    assert found is not None
    assert found.startswith("this script is written for Python 2, and runs on Python 3 here: ")
    assert hint in found


@pytest.mark.parametrize(
    "text",
    [
        "x = = 1",
        "def f(:\n  pass",
        "if 1:\n    x = 1\n  y = 2\n",
        "nothing",
        "import nothing_like_this",
        "[].nothing",
        "1 >> 'x'",
        "x = 1x",
        "{}['print']",
    ],
)
def test_other_mistakes(text: str) -> None:
    assert python2_hint(raised(text)) is None


HINT = "this script is written for Python 2, and runs on Python 3 here: "


def test_at_load(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    script = tmp_path / "old.py"
    script.write_text("print 'x'\n")
    with pytest.raises(EndRun), unchanged():
        load_perf_script(str(script), [])
    assert capsys.readouterr().err.splitlines()[-2:] == [
        f'{HINT}print needs parentheses, as in print("x")',
        f"Error running python script {script}",
    ]


def test_in_a_handler(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(EndRun):
        die(raised("xrange(1)"))
    assert capsys.readouterr().err.splitlines()[-2] == f"{HINT}xrange is range"


@contextlib.contextmanager
def unchanged() -> Iterator[None]:
    """Keep what a script that is loaded changes of the interpreter."""
    kept = sys.argv[:], sys.path[:], sys.modules["__main__"], dict(os.environ)
    try:
        yield
    finally:
        sys.argv[:], sys.path[:], sys.modules["__main__"], environment = kept
        os.environ.clear()
        os.environ.update(environment)
