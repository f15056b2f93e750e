"""The table of events that are shown of one's own tasks: how it is read, and what it says."""

from __future__ import annotations

import pytest

from ptraced.policy.events import Entry, Sight, find, parse, table

TEXT = """
# A comment.
a:one a:two    # behind it, too
    shown -hidden
    ?others @address ~missing
deny ~b:* c:three
    @address
"""
FIELDS = ("shown", "hidden", "others", "address", "new")


def entries(text: str) -> dict[str, Entry]:
    return {entry.name: entry for entry in parse(text)}


def test_signs_say_how_fields_are_shown() -> None:
    one = entries(TEXT)["a:one"]

    assert one.sights == {
        "shown": Sight.SHOWN,
        "hidden": Sight.BLANK,
        "others": Sight.AS_PROC,
        "address": Sight.ADDRESS,
        "missing": Sight.SHOWN,
    }
    assert (one.optional, one.is_optional, one.denied) == ({"missing"}, False, False)
    assert one.addresses == {"address"}


def test_what_is_not_named_is_blank_and_what_proc_shows_is_not() -> None:
    two = entries(TEXT)["a:two"]

    assert two.blank(FIELDS, others_in_proc=True) == {"hidden", "new"}
    assert two.blank(FIELDS, others_in_proc=False) == {"hidden", "others", "new"}


def test_a_star_shows_all_fields() -> None:
    assert entries("a:*\n    *")["a:*"].blank(FIELDS, others_in_proc=False) == set()


def test_denied_events_have_addresses_only() -> None:
    found = entries(TEXT)

    assert [(entry.denied, entry.is_optional) for entry in found.values()] == [
        *((False, False), (False, False)),
        *((True, True), (True, False)),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("    field\n", "line 1: fields of no event"),
        ("a:one\n", "a:one has no fields"),
        ("a:one\n    field -field\n", "a:one: 'field' stands there twice"),
    ],
)
def test_a_table_that_says_nothing_clear_is_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        list(parse(text))


def test_no_event_is_in_the_table_twice() -> None:
    names = [entry.name for entry in table()]

    assert len(names) == len(set(names))


@pytest.mark.parametrize(
    "event",
    [
        *("kprobe:vfs_read", "kretprobe:vfs_read", "bpf_trace:bpf_trace_printk"),
        *("sched:sched_process_free", "sched:sched_stat_runtime", "kmem:kmalloc"),
        *("block:block_rq_issue", "net:net_dev_xmit", "cgroup:cgroup_attach_task"),
        *("irq:softirq_entry", "timer:hrtimer_expire_entry", "workqueue:workqueue_execute_start"),
        *("io_uring:io_uring_task_add", "mem:0x1000/8:w", "dummy", "cgroup-switches", "r1a8"),
        "made:up",
    ],
)
def test_what_tells_of_others_or_is_not_known_is_denied(event: str) -> None:
    entry = find(event)

    assert entry is None or entry.denied
