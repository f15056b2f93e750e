"""What emitted filters compute, compiled for this machine and run on records made up here.

The BPF helpers are replaced by a few lines of C. The expected values come from an evaluator
of trees written anew here, from re for globs, and from the C compiler itself.
"""

from __future__ import annotations

import ctypes
import re
import subprocess
from collections.abc import Sequence
from fnmatch import translate
from pathlib import Path
from typing import Any

import pytest
from filterevents import FORMAT, Record, filter_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ptraced.errors import TraceError
from ptraced.filter import Filter
from ptraced.filter_c import emit

BPF = Path(__file__).parents[2] / "bpf"
SHIMS = """
#include <stdbool.h>
#include <string.h>
typedef unsigned char u8; typedef unsigned short u16; typedef unsigned int u32;
typedef unsigned long long u64; typedef signed char s8; typedef short s16; typedef int s32;
typedef long long s64;
#define __always_inline inline
#define BPF_PERCPU_ARRAY(name, type, size) \\
    static type name##_value; \\
    static type *name##_lookup(u32 *key) { return &name##_value; } \\
    static struct { type *(*lookup)(u32 *); } name = { name##_lookup };
static u64 bpf_get_current_pid_tgid(void) { return (1234ULL << 32) | 5678; }
static u32 bpf_get_smp_processor_id(void) { return 3; }
static long bpf_get_current_comm(void *to, u32 size)
{
    memset(to, 0, size);
    memcpy(to, "a-command", 9);
    return 0;
}
static long bpf_probe_read_kernel(void *to, u32 size, const void *from)
{
    memcpy(to, from, size);
    return 0;
}
static long bpf_probe_read_kernel_str(void *to, u32 size, const void *from)
{
    u32 length = from ? strnlen(from, size - 1) : 0;

    if (!from)
        return -14;
    memcpy(to, from, length);
    ((char *)to)[length] = 0;
    return length + 1;
}
#define bpf_probe_read_user_str bpf_probe_read_kernel_str
"""
LOADS = """
#undef FILTER_LOAD
#define FILTER_LOAD(type, offset) (*(type *)((char *)ctx + (offset)))
"""


class Compiled:
    """Filters as functions of this process."""

    def __init__(self, directory: Path, filters: Sequence[Filter]) -> None:
        functions = [emit(found, FORMAT, f"filter_{n}") for n, found in enumerate(filters)]
        table = ", ".join(f"filter_{n}" for n in range(len(filters)))
        run = f"bool run(int n, void *ctx) {{ return ((bool (*[])(void *)){{{table}}})[n](ctx); }}"
        header = (BPF / "filter.h").read_text()
        build(directory, "\n".join([SHIMS, header, LOADS, *functions, run]))
        self._run = ctypes.CDLL(str(directory / "filters.so")).run
        self._run.restype = ctypes.c_bool

    def results(self, count: int, record: bytes) -> list[bool]:
        # Room behind the record, as a text is read in pieces.
        buffer = ctypes.create_string_buffer(record, len(record) + 128)
        return [self._run(n, buffer) for n in range(count)]


def build(directory: Path, text: str) -> None:
    # dlopen gives a library that it knows by its inode again.
    (directory / "filters.so").unlink(missing_ok=True)
    (directory / "filters.c").write_text(text)
    command = ["gcc", "-w", "-O0", "-fwrapv", "-shared", "-fPIC", "-o", "filters.so", "filters.c"]
    subprocess.run(command, cwd=directory, check=True)


def accepted(directory: Path, texts: Sequence[str], record: Record, pointer: int = 0) -> list[bool]:
    filters = [filter_of(text) for text in texts]
    return Compiled(directory, filters).results(len(filters), record.packed(pointer))


NUMBERS = Record(i=-5, u=4000000000, l=-(1 << 40), w=(1 << 64) - 2, b=200, t=True, h=-300, odd=-7)


def test_numbers_of_every_size_and_sign(tmp_path: Path) -> None:
    cases = {
        "i == -5": True,
        "i < 0": True,
        "i > 4294967290": False,
        "u == 4000000000": True,
        "u == -294967296": False,
        "u > -1": True,
        "l == -1099511627776": True,
        "w == 18446744073709551614": True,
        "w == -2": True,
        "w > l": True,
        "w < 0": False,
        "b == 200": True,
        "t": True,
        "!t": False,
        "t == 1": True,
        "h == -300": True,
        "odd == -7": True,
        "odd": True,
        "i & 1": True,
        "i & 4": False,
        "i & 4 == 4": True,
        "!i & 4": True,
        "common_type == 77": True,
        "common_pid == 5678 && _tid == 5678 && _pid == 1234": True,
        "CPU == 3 && cpu != 2": True,
        "CPU & CPUS{0-3}": True,
        "CPU & CPUS{0-2,4-9}": False,
        "CPU == CPUS{3}": True,
        "CPU == CPUS{2-3}": False,
        "CPU != CPUS{2-3}": True,
        "i & CPUS{0-8191}": False,
        "w & CPUS{0-8191}": False,
    }

    assert dict(zip(cases, accepted(tmp_path, list(cases), NUMBERS), strict=True)) == cases


def test_what_c_leaves_undefined(tmp_path: Path) -> None:
    cases = {
        "i / 0 == 0": True,
        "i % 0 == 0": True,
        "w / (b - 200) == 0": True,
        "w % (b - 200) == 0": True,
        "-9223372036854775808 / -1 == -9223372036854775808": True,
        "-9223372036854775808 % -1 == 0": True,
        "1 << 65 == 2": True,
        "1 << -1 == -9223372036854775808": True,
        "-8 >> 65 == -4": True,
        "9223372036854775807 + 1 < 0": True,
    }

    assert dict(zip(cases, accepted(tmp_path, list(cases), NUMBERS), strict=True)) == cases


# Without parentheses and "!": what C's grammar and arithmetic make of these is ours to match.
AS_IN_C = [
    "i + u * l - b / 7 % 5",
    "i - 3 - 4 - u",
    "i << 3 >> 1 < u + 5",
    "i & 0xff == 0xfb | b ^ 200",
    "i < u == l < w",
    "i < -1 ? b > 3 ? 2 : 0 : 4",
    "i && b == 200 || l && u == 1",
    "0 && i || b",
    "-i % 3 * ~b + 600",
    "l / 7 + 157073089682",
    "l % 1000 + 776",
    "w / 3 - 6148914691236517204",
    "w >> 63 == 1",
    "l >> 30 == -1024",
    "~w == 1",
    "- -i == i",
    "010 + 0x10 - 24",
    "i ^ -5 || i | 0 ^ 5 & 7",
    "h * odd - 2100",
    "t + t - 2",
]


def test_precedence_and_conversions_are_those_of_c(tmp_path: Path) -> None:
    names = ("i", "u", "l", "w", "b", "t", "h", "odd")
    kinds = {"w": "unsigned long long"}
    variables = "".join(
        f"{kinds.get(name, 'long long')} {name} = {getattr(NUMBERS, name):d}ULL;" for name in names
    )
    calls = "".join(f"case {n}: return ({text}) != 0;" for n, text in enumerate(AS_IN_C))
    build(tmp_path, f"int run(int n) {{ {variables} switch (n) {{ {calls} }} return -1; }}")
    c_says = ctypes.CDLL(str(tmp_path / "filters.so")).run
    expected = [bool(c_says(n)) for n in range(len(AS_IN_C))]
    ours = tmp_path / "ours"
    ours.mkdir()

    assert accepted(ours, AS_IN_C, NUMBERS) == expected
    assert 5 < sum(expected) < len(AS_IN_C)


LONG = b"x" * 300 + b"/needle/" + b"y" * 7000


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("s == 'thirteen chrs'", True),
        ("s == 'thirteen chr'", False),
        ("s == 'thirteen chrs!'", False),
        ("s ~ 'thirteen*'", True),
        ("s ~ '*chrs'", True),
        ("s ~ '*chr'", False),
        ("s ~ 'thirteen?chrs*'", True),
        ("s ~ 'thirteen chrs?'", False),
        ("name == 'sh'", True),
        ("name == 'sh3'", False),
        ("name == 's'", False),
        ("name != 'sh'", False),
        ("name ~ 's?'", True),
        ("name ~ 's??'", False),
        ("name ~ '*h'", True),
        ("name ~ '*3'", False),
        ("name ~ '*on*'", False),
        ("name ~ '[a-s][!a-g]'", True),
        ("name ~ '[!s]*'", False),
        ("name ~ '*[gh]'", True),
        ("name ~ '!*[gh]'", False),
        ("name == ''", False),
        ("name ~ '*'", True),
        ("comm == 'a-command'", True),
        ("comm == 'a-comman'", False),
        ("comm ~ '*-*d'", True),
        ("comm ~ 'a-*'", True),
        ("d == 'x'", False),
        ("d ~ '*/needle/*'", True),
        ("d ~ 'x*/needle/*y'", True),
        ("d ~ '*/needle/'", False),
        ("d ~ '*z*'", False),
        ("d ~ 'xxxx*'", True),
        (f"d ~ '{'x' * 299}*'", True),
        (f"d ~ '{'x' * 301}*'", False),
        (f"d ~ '{'?' * 1000}*'", True),
        ("r == 'not terminated'", True),
        ("r == 'not terminate'", False),
        ("r == 'not terminated!'", False),
        ("r ~ '*terminated'", True),
        ("r ~ '*termina?e[d]'", True),
        ("r ~ '*terminate'", False),
        ("p == 'pointed at'", True),
        ("p ~ '*at'", True),
        ("p ~ 'pointed*'", True),
        ("p ~ '*x'", False),
        ("p.ustring == 'pointed at'", True),
        ("p.ustring ~ '*oint* ?t'", True),
    ],
)
def test_texts(tmp_path: Path, text: str, expected: bool) -> None:
    pointed = ctypes.create_string_buffer(b"pointed at", 128)
    record = Record(
        s=b"thirteen chrs", name=b"sh\0on3\0garbage", d=LONG + b"\0", r=b"not terminated"
    )

    assert accepted(tmp_path, [text], record, ctypes.addressof(pointed)) == [expected]


@pytest.mark.parametrize(
    "length", [0, 1, 55, 56, 57, 63, 64, 65, 111, 112, 113, 127, 128, 129, 200]
)
def test_texts_of_every_length(tmp_path: Path, length: int) -> None:
    text = bytes(97 + n % 26 for n in range(length)).decode()
    cases = {
        f"d == '{text}'": True,
        f"r == '{text}'": True,
        f"d == '{text}x'": False,
        f"r == '{text}x'": False,
        f"d ~ '{text}*'": True,
        f"r ~ '{text}*'": True,
        f"d ~ '*{text[-40:]}'": True,
        f"r ~ '*{text[-40:]}'": True,
        f"r ~ '*?{'?' * min(length, 60)}'": length > 60,
        f"d ~ '*?{'?' * min(length, 60)}'": length > 60,
    }
    record = Record(d=text.encode() + b"\0", r=text.encode())

    assert dict(zip(cases, accepted(tmp_path, list(cases), record), strict=True)) == cases


def test_an_unreadable_pointer_matches_nothing(tmp_path: Path) -> None:
    texts = ["p == ''", "p ~ '*'", "p ~ '*a*'", "p.ustring ~ '*a'"]

    assert accepted(tmp_path, texts, Record()) == [False] * 4


MASK = (1 << 64) - 1
Tree = tuple[Any, ...]


def wrapped(value: int, unsigned: bool) -> int:
    value &= MASK
    return value - (1 << 64) if not unsigned and value >> 63 else value


def evaluate(tree: Tree, record: Record) -> tuple[int, bool]:
    """Value and whether it is unsigned."""
    kind, *rest = tree
    if kind == "number":
        return rest[0], rest[0] >> 63 == 1
    if kind == "field":
        return int(getattr(record, rest[0])), rest[0] == "w"
    if kind == "glob":
        return int(glob_matches(rest[1], getattr(record, rest[0]).split(b"\0")[0])), False
    if kind == "!":
        return int(not evaluate(rest[0], record)[0]), False
    if kind in ("&&", "||"):
        values = (evaluate(part, record)[0] for part in rest)
        return int(all(values) if kind == "&&" else any(values)), False
    if kind == "?":
        (condition, _), then, otherwise = (evaluate(part, record) for part in rest)
        unsigned = then[1] or otherwise[1]
        return wrapped(then[0] if condition else otherwise[0], unsigned), unsigned
    if kind == "-" and len(rest) == 1 and rest[0][0] == "number":
        # A negative constant, which C does not have.
        return -rest[0][1], False
    if len(rest) == 1:
        value, unsigned = evaluate(rest[0], record)
        return wrapped(-value if kind == "-" else ~value, unsigned), unsigned
    return arithmetic(kind, *(evaluate(part, record) for part in rest))


def arithmetic(kind: str, left: tuple[int, bool], right: tuple[int, bool]) -> tuple[int, bool]:
    if kind in ("<<", ">>"):
        count = right[0] & 63
        value = left[0] << count if kind == "<<" else left[0] >> count
        return wrapped(value, left[1]), left[1]
    unsigned = left[1] or right[1]
    a, b = wrapped(left[0], unsigned), wrapped(right[0], unsigned)
    comparisons = {"==": a == b, "!=": a != b, "<": a < b, "<=": a <= b, ">": a > b, ">=": a >= b}
    if kind in comparisons:
        return int(comparisons[kind]), False
    quotient = abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1) if b else 0
    values = {
        "+": a + b,
        "-": a - b,
        "*": a * b,
        "/": quotient,
        "%": a - quotient * b if b else 0,
        "&": a & b,
        "|": a | b,
        "^": a ^ b,
    }
    return wrapped(values[kind], unsigned), unsigned


def glob_matches(pattern: str, text: bytes) -> bool:
    return re.match(translate(pattern), text.decode("latin-1")) is not None


def written(tree: Tree) -> str:
    kind, *rest = tree
    if kind in ("number", "field"):
        return str(rest[0])
    if kind == "glob":
        return f"({rest[0]} ~ '{rest[1]}')"
    if kind == "?":
        return "({} ? {} : {})".format(*map(written, rest))
    if len(rest) == 1:
        return f"({kind} {written(rest[0])})"
    return f"({f' {kind} '.join(map(written, rest))})"


INTERESTING = [0, 1, 2, 3, 7, 63, 64, 255, (1 << 31) - 1, 1 << 31, (1 << 63) - 1, 1 << 63, MASK]
GLOBS = st.text(alphabet="ab*?", max_size=8) | st.sampled_from(
    ["[ab]*", "*[!a]", "a[!b]*b", "*[]a]", "*[a", "[b-a]*", "*a*[a-c]*?", "?*?*?"]
)
LEAVES = st.one_of(
    st.sampled_from(INTERESTING).map(lambda value: ("number", value)),
    st.sampled_from(["i", "u", "l", "w", "b", "t", "h", "odd"]).map(lambda name: ("field", name)),
    st.tuples(st.just("glob"), st.sampled_from(["s", "name", "d", "r"]), GLOBS),
)
BINARY = ["+", "-", "*", "/", "%", "<<", ">>", "&", "|", "^", "==", "!=", "<", "<=", ">", ">="]


def larger(trees: st.SearchStrategy[Tree]) -> st.SearchStrategy[Tree]:
    return st.one_of(
        st.tuples(st.sampled_from(["-", "~", "!"]), trees),
        st.tuples(st.sampled_from(BINARY), trees, trees),
        st.tuples(st.sampled_from(["&&", "||"]), trees, trees),
        st.tuples(st.sampled_from(["&&", "||"]), trees, trees, trees),
        st.tuples(st.just("?"), trees, trees, trees),
    )


def signed(bits: int) -> st.SearchStrategy[int]:
    return st.integers(-(1 << (bits - 1)), (1 << (bits - 1)) - 1)


TEXTS = st.text(alphabet="abc\0]", max_size=12).map(str.encode)
RECORDS = st.builds(
    Record,
    i=signed(32),
    u=st.integers(0, (1 << 32) - 1),
    l=signed(64),
    w=st.integers(0, MASK),
    b=st.integers(0, 255),
    t=st.booleans(),
    h=signed(16),
    odd=signed(32),
    s=TEXTS,
    name=TEXTS,
    d=TEXTS,
    r=TEXTS,
)


def usable(tree: Tree) -> bool:
    """Whether the filter is within the limits."""
    limits = ("at most 8 comparisons", "too many patterns", "does not fit into 64 bits")
    try:
        filter_of(written(tree))
    except TraceError as error:
        if any(limit in str(error) for limit in limits):
            return False
        raise
    return True


@settings(
    max_examples=50,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    trees=st.lists(st.recursive(LEAVES, larger, max_leaves=10).filter(usable), min_size=1),
    records=st.lists(RECORDS, min_size=1, max_size=4),
)
def test_random_trees(
    tmp_path_factory: pytest.TempPathFactory, trees: list[Tree], records: list[Record]
) -> None:
    filters = [filter_of(written(tree)) for tree in trees]
    compiled = Compiled(tmp_path_factory.mktemp("trees"), filters)
    for record in records:
        expected = [bool(evaluate(tree, record)[0]) for tree in trees]
        assert compiled.results(len(filters), record.packed()) == expected
