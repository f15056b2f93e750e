"""Selectors: their grammar, what they select, and how errors point at the place."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptraced.errors import NotFound, TraceError
from ptraced.selector import SelectedEvent, parse_selectors, resolve
from ptraced.tracefs import Tracefs

COMMON = """\
\tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;
\tfield:unsigned char common_flags;\toffset:2;\tsize:1;\tsigned:0;
\tfield:unsigned char common_preempt_count;\toffset:3;\tsize:1;\tsigned:0;
\tfield:int common_pid;\toffset:4;\tsize:4;\tsigned:1;

\tfield:char comm[16];\toffset:8;\tsize:16;\tsigned:0;
\tfield:pid_t pid;\toffset:24;\tsize:4;\tsigned:1;
"""
EVENTS = ("sched:sched_switch", "sched:sched_wakeup", "sched:sched_waking", "task:task_rename")


@pytest.fixture(scope="module")
def tracefs(tmp_path_factory: pytest.TempPathFactory) -> Tracefs:
    root: Path = tmp_path_factory.mktemp("tracefs")
    for event_id, name in enumerate(EVENTS, 10):
        directory = root / "events" / name.replace(":", "/")
        directory.mkdir(parents=True)
        (directory / "id").write_text(f"{event_id}\n")
        head = f"name: {directory.name}\nID: {event_id}\nformat:\n"
        (directory / "format").write_text(f'{head}{COMMON}\nprint fmt: ""\n')
    return Tracefs(root)


def names(events: list[SelectedEvent]) -> list[str]:
    return [f"{event.format.system}:{event.format.name}" for event in events]


def error_of(text: str, tracefs: Tracefs) -> TraceError:
    with pytest.raises(TraceError) as error:
        resolve([text], tracefs)
    return error.value


def test_a_name_alone(tracefs: Tracefs) -> None:
    (event,) = resolve(["sched:sched_wakeup"], tracefs)

    assert event == SelectedEvent(
        index=0,
        format=tracefs.format("sched", "sched_wakeup"),
        alias="",
        filter=None,
        stack=False,
        max_stack=None,
        cpus="",
        text="sched:sched_wakeup",
    )


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("a:b,c:d", ["a:b", "c:d"]),
        (" a:b , c:d\n", ["a:b", "c:d"]),
        ("a:b/pid>1/,c:d", ["a:b/pid>1/", "c:d"]),
        ("a:b//stack/,c:d", ["a:b//stack/", "c:d"]),
        ("a:b//cpus=0,2/,c:d", ["a:b//cpus=0,2/", "c:d"]),
        ("a:b/pid>1/cpus=0,2/stack/,c:d", ["a:b/pid>1/cpus=0,2/stack/", "c:d"]),
        ("a:b/comm=='x/,y'/,c:d", ["a:b/comm=='x/,y'/", "c:d"]),
        ("a:b/(pid/2)>1/,c:d", ["a:b/(pid/2)>1/", "c:d"]),
        ("a:b/pid&CPUS{0-3,5}/,c:d", ["a:b/pid&CPUS{0-3,5}/", "c:d"]),
        ("a:[b,c]*,c:d", ["a:[b,c]*", "c:d"]),
        ('uprobe:f@"/lib/x,y",c:d', ['uprobe:f@"/lib/x,y"', "c:d"]),
    ],
)
def test_where_selectors_end(text: str, parts: list[str]) -> None:
    assert [selector.text for selector in parse_selectors(text)] == parts


def test_wildcards_carry_filter_and_attributes(tracefs: Tracefs) -> None:
    events = resolve(["task:*", "sched:sched_wak*/pid>10/stack/alias=w/"], tracefs)

    assert names(events) == ["task:task_rename", "sched:sched_wakeup", "sched:sched_waking"]
    assert [event.index for event in events] == [0, 1, 1]
    assert [event.stack for event in events] == [False, True, True]
    assert [event.alias for event in events] == ["", "w", "w"]
    assert [event.filter and event.filter.canonical for event in events] == [
        None,
        "(pid > 10)",
        "(pid > 10)",
    ]


@pytest.mark.parametrize(
    ("glob", "found"),
    [
        ("sched:*", EVENTS[:3]),
        ("*:*", EVENTS),
        ("*:*rename", EVENTS[3:]),
        ("sched:sched_waki?g", EVENTS[2:3]),
        ("sched:sched_[sw]*", EVENTS[:3]),
        ("sched:sched_[!s]*", EVENTS[1:3]),
    ],
)
def test_globs(tracefs: Tracefs, glob: str, found: tuple[str, ...]) -> None:
    assert names(resolve([glob], tracefs)) == list(found)


def test_an_event_selected_twice_is_there_twice(tracefs: Tracefs) -> None:
    events = resolve(["sched:sched_wakeup,sched:sched_wakeup", "sched:sched_wakeup"], tracefs)

    assert names(events) == ["sched:sched_wakeup"] * 3
    assert [event.index for event in events] == [0, 1, 2]


def test_attributes_that_act(tracefs: Tracefs) -> None:
    text = "sched:sched_wakeup/pid>1/alias=my-name/max-stack=16/cpus=0-3,8/"

    (event,) = resolve([text], tracefs)

    assert (event.alias, event.stack, event.max_stack, event.cpus) == ("my-name", True, 16, "0-3,8")
    assert event.text == text


def test_empty_filter_and_attributes(tracefs: Tracefs) -> None:
    (event,) = resolve(["sched:sched_wakeup// stack /alias='w'//"], tracefs)

    assert (event.filter, event.stack, event.alias) == (None, True, "w")


def test_attributes_without_effect(tracefs: Tracefs) -> None:
    attributes = (
        "exec/key=pid/printkey=printf('%d', key)/num=1/ptr=1/size=2/comm=comm/top-by=a/top-add=b/"
        "role=x/untraced/trigger=y/index=1/vm=z"
    )

    (event,) = resolve([f"sched:sched_wakeup//{attributes}/"], tracefs)

    assert (event.stack, event.alias, event.cpus) == (False, "", "")


@pytest.mark.parametrize(
    "block",
    [
        """\
error: no event 'sched:sched_wakup' (did you mean 'sched:sched_wakeup'?)
  sched:sched_wakup/pid>10/
        ^~~~~~~~~~~""",
        """\
error: no event 'shed:sched_wakeup' (did you mean 'sched:sched_wakeup'?)
  shed:sched_wakeup
  ^~~~~~~~~~~~~~~~~""",
        """\
error: no event 'sched_wakeup' (did you mean 'sched:sched_wakeup'?)
  sched_wakeup
  ^~~~~~~~~~~~""",
        """\
error: no event 'sched:x'
  sched:x
        ^""",
        """\
error: no event 'sched:\\x1b2J'
  sched:\\x1b2J//
        ^~~~~~""",
        """\
error: no event 'sdt_libc:setjmp': perf's SDT events are USDT probes here: usdt:libc:setjmp@"file"
  sdt_libc:setjmp
  ^~~~~~~~~~~~~~~""",
        """\
error: no events match 'sched:nosuch*'
  sched:nosuch*
        ^~~~~~~""",
        """\
error: sched:sched_wakeup has no field 'pidd' (did you mean 'pid'?)
  sched:sched_wakeup/pidd>10/
                     ^~~~""",
        """\
error: no attribute 'stak' (did you mean 'stack'?)
  sched:sched_wakeup//stak/
                      ^~~~""",
        """\
error: no attribute 'bogus'
  sched:sched_wakeup/pid>1/ bogus=1 /
                            ^~~~~~~""",
        """\
error: no attribute '2 > 1' (a filter that divides needs parentheses there)
  sched:sched_wakeup/pid / 2 > 1/
                           ^~~~~""",
        """\
error: 'stack' takes no value
  sched:sched_wakeup//stack=1/
                      ^~~~~~~""",
        """\
error: 'max-stack=' takes a number of frames, 1 to 127
  sched:sched_wakeup//max-stack=128/
                      ^~~~~~~~~~~~~""",
        """\
error: 'max-stack=' takes a number of frames, 1 to 127
  sched:sched_wakeup//max-stack/
                      ^~~~~~~~~""",
        """\
error: 'alias=' takes a name: letters, digits and any of _ - . :
  sched:sched_wakeup//alias=a b/
                      ^~~~~~~~~""",
        """\
error: 'cpus=' takes a list of CPUs such as 0-3,8
  sched:sched_wakeup//cpus=x/
                      ^~~~~~""",
        """\
error: 'push=' passes events on without asking who reads them and is not supported: \
clients on other hosts connect to the daemon by gRPC
  sched:sched_wakeup//push=:9000/
                      ^~~~~~~~~~""",
        """\
error: this '/' is not closed
  sched:sched_wakeup/pid>1
                    ^~~~~~""",
        """\
error: this '/' is not closed
  sched:sched_wakeup//stack
                     ^~~~~~""",
        """\
error: this quote is not closed
  sched:sched_wakeup/comm=='x/
                           ^~~""",
        """\
error: this '(' has no ')'
  sched:sched_wakeup/(pid>1/
                     ^""",
        """\
error: this '{' has no '}'
  sched:sched_wakeup/CPU&CPUS{1/
                             ^""",
        """\
error: 'str=' is for arguments of probes and of system calls
  sched:sched_wakeup//str=comm/
                          ^~~~""",
        """\
error: the file stands in quotes: @"/bin/true"
  uprobe:main@/bin/true
              ^~~~~~~~~""",
        "error: 'str=' takes an argument, and the most bytes of its text (8 to 4096): "
        """str=filename or str=filename:1024
  kprobe:do_sys_openat2//str=filename:5000/
                         ^~~~~~~~~~~~~~~~~""",
    ],
)
def test_errors_point_at_the_place(tracefs: Tracefs, block: str) -> None:
    line = block.split("\n")[1][2:].replace("\\x1b", "\x1b")

    assert str(error_of(line, tracefs)) == block


@pytest.mark.parametrize(
    ("text", "block"),
    [
        ("", "error: an event is missing here\n  \n  ^"),
        ("a:b,", "error: an event is missing here\n  a:b,\n      ^"),
        ("a:b,,c:d", "error: an event is missing here\n  a:b,,c:d\n      ^"),
        ("task:*,sched:x/", "error: this '/' is not closed\n  sched:x/\n         ^"),
    ],
)
def test_errors_of_lists(tracefs: Tracefs, text: str, block: str) -> None:
    assert str(error_of(text, tracefs)) == block


def test_unknown_events_are_not_found(tracefs: Tracefs) -> None:
    assert isinstance(error_of("sched:x", tracefs), NotFound)
    assert isinstance(error_of("sched:x*", tracefs), NotFound)
    assert not isinstance(error_of("kprobe:x", tracefs), NotFound)


def test_a_filter_has_to_fit_every_event_of_a_wildcard(tracefs: Tracefs) -> None:
    assert str(error_of("*:*/nosuch/", tracefs)) == (
        "error: sched:sched_switch has no field 'nosuch'\n  *:*/nosuch/\n      ^~~~~~"
    )


@given(st.text(alphabet="a:*/,'\"()[]{}= \n\x1b=>1\u202e\u4e2d", max_size=30))
def test_any_text_gives_selectors_or_an_error(text: str) -> None:
    try:
        selectors = parse_selectors(text)
    except TraceError as error:
        message, line, caret = str(error).split("\n")
        assert message.startswith("error: ")
        assert line.startswith("  ")
        assert caret.strip(" ").strip("~") == "^"
        assert all(char.isprintable() for char in message + line)
    else:
        assert all(selector.text in text for selector in selectors)
