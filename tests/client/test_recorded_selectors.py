"""What -e takes for recordings: names, and of what is for live events that which alters nothing."""

from __future__ import annotations

import pytest

from ptrace_client.errors import ClientError
from ptrace_client.perf_data.selectors import RecordedSelector, parse_selectors


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("sched:sched_switch", ["sched:sched_switch"]),
        ("sched:*, cpu-clock", ["sched:*", "cpu-clock"]),
        ("sched:sched_[sw]*,page-faults", ["sched:sched_[sw]*", "page-faults"]),
        ("sched:sched_switch//,page-faults/-F 99,/", None),
        ("profile/-F 99/,cpu-clock/-c 1000/", ["profile", "cpu-clock"]),
        ('uprobe:malloc@"libc.so.6",kprobe:f', ["uprobe:malloc", "kprobe:f"]),
        ('uprobe:malloc@"/lib/a,b"//', ["uprobe:malloc"]),
        ("", [""]),
    ],
)
def test_names(text: str, names: list[str] | None) -> None:
    if names is None:
        with pytest.raises(ClientError, match="page-faults/-F 99,/: filters and attributes"):
            parse_selectors([text], frozenset())
        return
    found = parse_selectors([text], frozenset())
    assert [(selector.name, selector.stack) for selector in found] == [(it, False) for it in names]


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("sched:sched_switch//stack/", "sched:sched_switch"),
        ("profile/-F 99 -g/", "profile"),
        ("page-faults/--call-graph/", "page-faults"),
        ("page-faults//stack/", "page-faults"),
    ],
)
def test_call_chains(text: str, name: str) -> None:
    assert parse_selectors([text], frozenset()) == [RecordedSelector(text, name, stack=True)]


@pytest.mark.parametrize("name", ["cpu/event=0x3c,umask=1/", "cpu/cycles/u", "a/b"])
def test_names_of_the_file_may_have_slashes(name: str) -> None:
    selectors = parse_selectors([f"{name},sched"], frozenset((name,)))
    assert [selector.name for selector in selectors] == [name, "sched"]


@pytest.mark.parametrize(
    "text",
    [
        "sched:sched_switch/prev_pid > 3/",
        "sched:sched_switch//alias=x/",
        "sched:sched_switch//max-stack=3/",
        "profile/-F/",
        "profile/--user-callchain/",
        "sched:sched_switch/",
        "sched:sched_switch/(a",
        "sched/ /x",
    ],
)
def test_what_a_recording_cannot_follow(text: str) -> None:
    with pytest.raises(ClientError, match="filters and attributes are for live events"):
        parse_selectors([text], frozenset())
