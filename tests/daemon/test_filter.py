"""The filter language: what is accepted, what it means, what errors say."""

from __future__ import annotations

from dataclasses import replace

import pytest
from filterevents import FORMAT, filter_of
from hypothesis import given
from hypothesis import strategies as st
from madeup import event

from ptraced.errors import TraceError
from ptraced.filter import check_filter, parse_filter
from ptraced.filter_tree import Match, Memory


def error_of(text: str) -> str:
    with pytest.raises(TraceError) as error:
        filter_of(text)
    return str(error.value)


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("i>1", "(i > 1)"),
        ("i", "i"),
        ("i & 4", "(i & 4)"),
        # C's precedence.
        ("i & 4 == 4", "(i & (4 == 4))"),
        ("i | u ^ l & w == b", "(i | (u ^ (l & (w == b))))"),
        ("1 + 2 * 3 << 4 < 5 == 6", "((((1 + (2 * 3)) << 4) < 5) == 6)"),
        ("i - 1 - 2", "((i - 1) - 2)"),
        ("i || u && l", "(i || (u && l))"),
        ("i && u && l", "(i && u && l)"),
        ("i ? u : l ? w : b", "(i ? u : (l ? w : b))"),
        ("-i % 3", "((-i) % 3)"),
        ("~i", "(~i)"),
        ("+i", "i"),
        ("- 5", "-5"),
        ("-(5)", "-5"),
        # The kernel's: ! takes the comparison.
        ("!i == 1", "(!(i == 1))"),
        ("!i == 1 && u", "((!(i == 1)) && u)"),
        ("!!i", "(!(!i))"),
        ("(!i) == 1", "((!i) == 1)"),
        # Numbers.
        ("i == 0x1F", "(i == 31)"),
        ("i == 010", "(i == 8)"),
        ("i == 0b101", "(i == 5)"),
        ("i == 10UL", "(i == 10)"),
        ("i == 'a'", "(i == 97)"),
        ("i == '\\n'", "(i == 10)"),
        ("w == 18446744073709551615", "(w == 18446744073709551615)"),
        ("l == -9223372036854775808", "(l == -9223372036854775808)"),
        # Names that every event has.
        ("common_pid == _tid", "(%common_pid == %common_pid)"),
        ("common_type == 77", "(%common_type == 77)"),
        ("CPU == cpu && _cpu == common_cpu", "((%CPU == %CPU) && (%CPU == %CPU))"),
        ("_pid > 1", "(%_pid > 1)"),
        ("CPU & CPUS{0-3,5,4,9}", "(%CPU in {0-5,9-9})"),
        ("i == CPUS{3}", "(i in {3-3})"),
        ("i != CPUS{3}", "(!(i in {3-3}))"),
        ("i == CPUS{3-4}", "(i in {})"),
    ],
)
def test_what_is_understood(text: str, canonical: str) -> None:
    assert filter_of(text).canonical == canonical


@pytest.mark.parametrize(
    "same",
    [
        ["s == 'abc'", 's=="abc"', "'abc' == s", "s == abc", "(s == 'abc')", "s ~ 'abc'"],
        ["s != 'abc'", "!s == 'abc'", "s ~ '!abc'"],
        ["s ~ 'a**b'", "s ~ 'a*b'", "s ~ '[a]*b'"],
        ["comm == 'x'", "COMM == 'x'", "_comm == 'x'"],
        ["i>1&&u<2", "(i > 1)\n  && ((u) < 0x2)"],
    ],
)
def test_equal_filters_have_equal_texts(same: list[str]) -> None:
    assert len({filter_of(text).canonical for text in same}) == 1
    assert len({filter_of(text) for text in same}) == 1


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("s == 'a'", "name == 'a'"),
        ("s == 'a*'", "s ~ 'a*'"),
        ("s == '(i > 1)'", "s == 'i'"),
        ("p == 'a'", "p.ustring == 'a'"),
        ("i - (1 - 2)", "i - 1 - 2"),
        ("i && (u || l)", "i && u || l"),
        ("comm == 'x'", "name == 'x'"),
        ("i == 1", "i == -1"),
    ],
)
def test_different_filters_have_different_texts(one: str, other: str) -> None:
    assert filter_of(one).canonical != filter_of(other).canonical


def test_fields_are_those_of_the_record() -> None:
    text = "i > 1 && (s == 'a' || d ~ '*x' || p.ustring == 'y') && CPU == 1 && comm == 'z'"

    assert filter_of(text).fields == {"i", "s", "d", "p"}


@pytest.mark.parametrize(
    "block",
    [
        """\
error: sys:event has no field 'nam' (did you mean 'name'?)
  nam == 'x'
  ^~~""",
        """\
error: sys:event has no field 'zzz'
  i > 1 && zzz.ustring == 'x'
           ^~~""",
        """\
error: sys:event has no field 'zzz'
  i == zzz
       ^~~""",
        """\
error: 's' is a string (char[13]), it is compared with a quoted string
  s == 5
       ^""",
        """\
error: 's' is a string (char[13]), it is compared with a quoted string
  s ~ abc
      ^~~""",
        """\
error: 's' is a string (char[13]), it is compared with a quoted string
  s == name
       ^~~~""",
        """\
error: 'd' is a string (__data_loc char[]): compare it by '==', '!=' or '~' with a quoted string
  1 < d
      ^""",
        """\
error: 'COMM' is a string (char[16]): compare it by '==', '!=' or '~' with a quoted string
  COMM
  ^~~~""",
        """\
error: 'i' is a number (int); it is compared with a number, not a string
  i == "abc"
       ^~~~~""",
        """\
error: '~' takes a string field, 'i' is a number (int)
  i ~ 'a*'
  ^""",
        """\
error: '~' takes a string field, this is a number
  (i + 1) ~ 'a*'
   ^~~~~""",
        """\
error: a string where a number is needed
  i + 1 == 'abc'
           ^~~~~""",
        """\
error: 'raw' is binary data (u8[8]), filters take numbers and strings
  raw == 1
  ^~~""",
        """\
error: 'common_flags' cannot be read by a BPF program, so not be filtered on
  common_flags & 1
  ^~~~~~~~~~~~""",
        """\
error: 'common_preempt_count' cannot be read by a BPF program, so not be filtered on
  !common_preempt_count
   ^~~~~~~~~~~~~~~~~~~~""",
        """\
error: '.function' is not supported: compare the address as a number
  w.function == vfs_read
  ^~~~~~~~~~""",
        """\
error: unknown '.strin', only '.ustring' can follow a field
  p.strin == 'x'
  ^~~~~~~""",
        """\
error: '.ustring' takes a pointer field
  i.ustring == 'x'
  ^~~~~~~~~""",
        """\
error: unexpected '=' in a filter: equality is '=='
  i = 1
    ^""",
        """\
error: unexpected ';' in a filter
  i>1; }
     ^""",
        """\
error: unexpected '(' in a filter
  system("x")
        ^""",
        """\
error: unexpected '#' in a filter
  i #include
    ^""",
        """\
error: unexpected '*' in a filter
  *(int *)w
  ^""",
        """\
error: unexpected '!' in a filter
  i == !u
       ^""",
        """\
error: unexpected '\\x1b' in a filter
  i\\x1b > 1
   ^~~~""",
        """\
error: the filter ends too early
  i >
     ^""",
        """\
error: bad number '12ab'
  i == 12ab
       ^~~~""",
        """\
error: bad number '09'
  i == 09
       ^~""",
        """\
error: 18446744073709551616 does not fit into 64 bits
  i == 18446744073709551616
       ^~~~~~~~~~~~~~~~~~~~""",
        """\
error: -9223372036854775809 does not fit into 64 bits
  i == -9223372036854775809
       ^~~~~~~~~~~~~~~~~~~~""",
        """\
error: bad CPU list '3-1'
  CPU & CPUS{3-1}
        ^~~~~~~~~""",
        """\
error: bad CPU list ''
  CPU & CPUS{}
        ^~~~~~""",
        """\
error: a CPU list stands behind '==', '!=' or '&'
  CPU < CPUS{1}
        ^~~~~~~""",
        """\
error: a CPU list stands behind '==', '!=' or '&'
  CPUS{1} == 1
  ^~~~~~~""",
        """\
error: this quote is not closed
  s == 'abc
       ^~~~""",
    ],
)
def test_errors_point_at_the_place(block: str) -> None:
    line = block.split("\n")[1][2:].replace("\\x1b", "\x1b")

    assert error_of(line) == block


def test_a_system_calls_pointer_needs_ustring() -> None:
    format = replace(FORMAT, system="syscalls")
    with pytest.raises(TraceError) as error:
        check_filter(parse_filter("p == 'x'"), format)

    assert str(error.value) == (
        "error: 'p' points into the program's memory: write 'p.ustring' for the string there\n"
        "  p == 'x'\n"
        "  ^"
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("i" + " " * 65536, "a filter of 65537 bytes, at most 65536 are possible"),
        ("~" * 64 + "i", "this filter is nested too deep, at most 64 levels"),
        ("!" * 60000 + "i", "this filter is nested too deep, at most 64 levels"),
        ("1+" * 64 + "1", "this filter is nested too deep, at most 64 levels"),
        ("||".join(f"i=={n}" for n in range(6000)), "this filter is too large for a BPF program"),
        ("||".join(["d~'*x*'"] * 4), "too many patterns to search for in long strings"),
        ("||".join(["s~'*x*'"] * 60), "this filter is too large for a BPF program"),
        ("+".join(["(i==1)"] * 9), "a filter can compute with at most 8 comparisons"),
        (f"s ~ '*{'x' * 62}'", "this pattern with '*' is too long, at most 61 bytes"),
        (f"s == '{'x' * 1025}'", "this string is too long, at most 1024 bytes"),
        ("i == 0x" + "f" * 60000, "does not fit into 64 bits"),
    ],
)
def test_limits(text: str, message: str) -> None:
    first, line, caret = (*error_of(text).split("\n"), "", "")[:3]

    assert message in first
    assert len(line) < 400
    assert len(caret) < 400


def test_fields_of_probes_are_told() -> None:
    # Of tracepoints the list of events tells them.
    probe = replace(FORMAT, system="kprobe", name="f", id=0)
    names = ", ".join(field.name for field in FORMAT.fields)

    with pytest.raises(TraceError) as caught:
        check_filter(parse_filter("zzz > 1", 0, 7), probe)
    assert str(caught.value) == (
        f"error: kprobe:f has no field 'zzz' (it has {names})\n  zzz > 1\n  ^~~"
    )
    with pytest.raises(TraceError, match=r"has no field 'nam' \(did you mean 'name'\?\)\n"):
        check_filter(parse_filter("nam > 1", 0, 7), probe)


def test_deep_parentheses_and_long_lists_are_fine() -> None:
    assert filter_of("(" * 20000 + "i" + ")" * 20000).canonical == "i"
    assert len(filter_of("||".join(f"i=={n}" for n in range(1000))).canonical) > 6000


def test_a_long_filter_is_shown_around_the_place() -> None:
    text = "i==1||" * 100 + "zz==1" + "||i==1" * 100

    message, line, caret = error_of(text).split("\n")

    assert message == "error: sys:event has no field 'zz'"
    assert line.startswith("  ...i==1||i==1||")
    assert line.endswith("i==1||i...")
    assert line[caret.index("^") :].startswith("zz==1")


TOKENS = st.sampled_from(
    [
        *("i", "u", "l", "w", "s", "d", "p", "name", "raw", "comm", "CPU", "CPUS{0-3}", "CPUS{"),
        *(".ustring", ".function", "nosuch", "common_flags", "1", "0x2", "077", "0b1", "'a'"),
        *("'abc'", '"x*"', "(", ")", "!", "~", "-", "+", "*", "/", "%", "<<", ">>", "<", "<="),
        *("==", "!=", "=", "&", "&&", "|", "||", "^", "?", ":", ";", ",", "\x00", "\x1b"),
        *("\u202e", "\u4e2d", "9999999999999999999999", "'"),
    ]
)


@given(
    st.one_of(st.lists(TOKENS, max_size=25).map(" ".join), st.text(st.characters(), max_size=40))
)
def test_any_text_gives_a_filter_or_an_error(text: str) -> None:
    try:
        found = filter_of(text)
    except TraceError as error:
        message, line, caret = str(error).split("\n")
        assert message.startswith("error: ")
        assert all(char.isprintable() for char in message + line)
        assert caret.strip(" ").strip("~") == "^"
    else:
        assert found.canonical


def test_a_programs_pointer_leads_to_the_programs_memory() -> None:
    declared = ("const char * text", 8, 8, False)
    memories = {}
    for system in ("sys", "uprobe", "uretprobe", "usdt"):
        checked = check_filter(parse_filter("text == 'a'"), event(system, "name", declared))
        assert isinstance(checked.root, Match)
        memories[system] = checked.root.memory

    assert memories == {
        "sys": Memory.KERNEL,
        **dict.fromkeys(("uprobe", "uretprobe", "usdt"), Memory.USER),
    }
