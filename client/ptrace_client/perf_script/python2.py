"""A hint for scripts of Python 2's time, by what Python 3 says of them."""

from __future__ import annotations

import re
from typing import Final

_PREFIX: Final = "this script is written for Python 2, and runs on Python 3 here: "

# What SyntaxError says, and the line that it shows: pattern of either, hint.
_SYNTAX: Final = (
    (r"Missing parentheses in call to 'print'", 'print needs parentheses, as in print("x")'),
    (r"Missing parentheses in call to 'exec'", 'exec needs parentheses, as in exec("x")'),
    (r"multiple exception types must be parenthesized", '"except X, e:" is "except X as e:" now'),
    (r"leading zeros in decimal integer", "octal numbers are written 0o644"),
    (r"invalid decimal literal.*\n.*\d[lL]\b", "numbers have no L behind them"),
    (r"invalid hexadecimal literal.*\n.*[0-9a-fA-F][lL]\b", "numbers have no L behind them"),
    (r"\n.*<>", '"<>" is written "!="'),
    (r"\n.*`", "`x` is written repr(x)"),
    (r"\n\s*raise\s+[\w.]+\s*,", '"raise X, y" is "raise X(y)" now'),
    (r"\n\s*print\b", 'print needs parentheses, as in print("x")'),
    (r"\n\s*exec\b", 'exec needs parentheses, as in exec("x")'),
    (r"\n.*\b[uU][rR]['\"]", "there is no ur'x'"),
)
_BUILTINS: Final = {
    "apply": "apply(f, x) is f(*x)",
    "basestring": "basestring is str",
    "buffer": "buffer is memoryview",
    "cmp": "there is no cmp",
    "execfile": "execfile(x) is exec(open(x).read())",
    "file": "file is open",
    "intern": "intern is sys.intern",
    "long": "long is int",
    "raw_input": "raw_input is input",
    "reduce": "reduce is functools.reduce",
    "reload": "reload is importlib.reload",
    "unichr": "unichr is chr",
    "unicode": "unicode is str",
    "xrange": "xrange is range",
}
_MODULES: Final = {
    "BaseHTTPServer": "http.server",
    "ConfigParser": "configparser",
    "Cookie": "http.cookies",
    "HTMLParser": "html.parser",
    "Queue": "queue",
    "SimpleHTTPServer": "http.server",
    "SocketServer": "socketserver",
    "StringIO": "io",
    "Tkinter": "tkinter",
    "UserDict": "collections",
    "UserList": "collections",
    "UserString": "collections",
    "__builtin__": "builtins",
    "anydbm": "dbm",
    "cPickle": "pickle",
    "cStringIO": "io",
    "commands": "subprocess",
    "cookielib": "http.cookiejar",
    "copy_reg": "copyreg",
    "dummy_thread": "_dummy_thread",
    "htmlentitydefs": "html.entities",
    "httplib": "http.client",
    "md5": "hashlib",
    "sets": "set, which needs no import",
    "sha": "hashlib",
    "thread": "_thread",
    "urllib2": "urllib.request",
    "urlparse": "urllib.parse",
    "xmlrpclib": "xmlrpc.client",
}
_ATTRIBUTES: Final = {
    "getcwdu": "os.getcwdu is os.getcwd",
    "has_key": "x.has_key(y) is y in x",
    "iteritems": "iteritems is items",
    "iterkeys": "iterkeys is keys",
    "itervalues": "itervalues is values",
    "ifilter": "itertools.ifilter is filter",
    "imap": "itertools.imap is map",
    "izip": "itertools.izip is zip",
    "letters": "string.letters is string.ascii_letters",
    "lowercase": "string.lowercase is string.ascii_lowercase",
    "maxint": "sys.maxint is sys.maxsize",
    "uppercase": "string.uppercase is string.ascii_uppercase",
}


def python2_hint(error: BaseException) -> str | None:
    """Return a sentence for a script that raised `error` because it is of Python 2.

    None where it may be of Python 3, and just wrong.

    >>> python2_hint(NameError(name="xrange"))
    'this script is written for Python 2, and runs on Python 3 here: xrange is range'
    """
    what = _what_changed(error)
    return _PREFIX + what if what is not None else None


def _what_changed(error: BaseException) -> str | None:
    if isinstance(error, TabError):
        return "a block is indented by tabs or by blanks, not by both"
    if isinstance(error, SyntaxError):
        shown = f"{error.msg}\n{error.text or ''}"
        return next((hint for pattern, hint in _SYNTAX if re.search(pattern, shown)), None)
    if isinstance(error, NameError):
        return _BUILTINS.get(error.name or "")
    if isinstance(error, ImportError):
        module = _MODULES.get(error.name or "")
        return None if module is None else f"{error.name} is {module}"
    if isinstance(error, AttributeError):
        return _ATTRIBUTES.get(error.name or "")
    if isinstance(error, TypeError) and ">>" in str(error) and "print(" in str(error):
        return '"print >>f, x" is "print(x, file=f)" now'
    return None
