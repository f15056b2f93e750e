"""How an event is shown to a caller: whose tasks, which fields, which addresses."""

from __future__ import annotations

from pathlib import Path

import pytest
from madeup import event

from ptrace_formats.event_format import EventFormat, parse_format
from ptrace_formats.sample_format import sample_format
from ptraced.errors import PermissionRefused
from ptraced.identity import Caller
from ptraced.layout import NO_BLANKS, Blanks
from ptraced.origin import Origin, Probe, Sampled, Site, Tracepoint
from ptraced.policy import addresses, exposure
from ptraced.policy.addresses import address_blanks, shows_addresses
from ptraced.policy.exposure import Exposure, expose
from ptraced.policy.grant import Grant, Rule, StackParts, Tasks
from ptraced.policy.selection import stack_parts
from ptraced.sampling import counters
from ptraced.selector import SelectedEvent

ANN = Caller(1000, 1000)
ROOT = Caller(0, 0)
OWN = Rule(name="own", users=("*",), events=("*",))
ALL = Rule(name="all", users=("*",), events=("*",), tasks=Tasks.ALL)
SWITCH = event(
    "sched",
    "sched_switch",
    ("char prev_comm[16]", 8, 16, False),
    ("char next_comm[16]", 24, 16, False),
    ("pid_t next_pid", 40, 4, True),
    ("int newly_added", 44, 4, True),
)
FAULTS = Sampled(counters.SOFTWARE, 2, "page-faults", period=1)


@pytest.fixture(autouse=True)
def _host(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host that hides addresses, and shows all tasks in /proc."""
    monkeypatch.setattr(exposure, "shows_addresses", lambda caller: False)
    monkeypatch.setattr(exposure, "shows_others", lambda caller: True)


def selected(format: EventFormat, origin: Origin | None = None) -> SelectedEvent:
    return SelectedEvent(
        index=0,
        format=format,
        alias="",
        filter=None,
        stack=False,
        max_stack=None,
        cpus="",
        text=format.title,
        origin=origin or Tracepoint(),
    )


def exposed(format: EventFormat, rule: Rule, origin: Origin | None = None) -> Exposure:
    return expose(selected(format, origin), Grant(ANN, (rule,)))


def test_of_own_tasks_a_field_that_the_table_does_not_name_is_blank() -> None:
    assert exposed(SWITCH, OWN) == Exposure(OWN, 1000, Blanks(frozenset({"newly_added"})), False)


def test_others_are_blank_where_proc_does_not_show_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exposure, "shows_others", lambda caller: False)

    assert exposed(SWITCH, OWN).blanks.all == {"newly_added", "next_comm", "next_pid"}


def test_of_all_tasks_nothing_is_blank_but_addresses() -> None:
    assert exposed(SWITCH, ALL) == Exposure(ALL, None, NO_BLANKS, False)
    pages = event("vmalloc", "alloc_vmap_area", ("unsigned long addr", 8, 8, False))
    assert exposed(pages, ALL).blanks.all == {"addr", "vstart", "vend"}
    granted = Rule(name="all", users=("*",), events=("*",), tasks=Tasks.ALL, kernel_addresses=True)
    assert exposed(pages, granted) == Exposure(granted, None, NO_BLANKS, True)


def test_what_is_not_in_the_table_is_denied_of_own_tasks() -> None:
    with pytest.raises(PermissionRefused) as refused:
        exposed(event("made", "up"), OWN)

    assert str(refused.value) == (
        'error: made:up may tell of others\' tasks, and rule "own" allows you your own; '
        "ask this host's administrator for one of all tasks"
    )


@pytest.mark.parametrize(
    ("origin", "blank"),
    [
        (FAULTS, False),
        (Sampled(counters.SOFTWARE, 2, "page-faults", frequency=99), True),
        (Sampled(counters.SOFTWARE, 0, "cpu-clock", frequency=99), False),
    ],
    ids=["a period that was asked for", "one that follows the CPU", "time"],
)
def test_the_period_is_blank_where_it_follows_what_others_do(origin: Sampled, blank: bool) -> None:
    assert ("period" in exposed(sample_format("any"), OWN, origin).blanks.all) == blank


@pytest.mark.parametrize("kind", [counters.RAW, counters.BREAKPOINT, 8])
def test_of_sampled_events_only_those_with_names_are_shown(kind: int) -> None:
    with pytest.raises(PermissionRefused):
        exposed(sample_format("page-faults"), OWN, Sampled(kind, 2, "page-faults", period=1))


def test_a_breakpoint_in_the_kernel_is_for_whom_addresses_are_shown() -> None:
    origin = Sampled(counters.BREAKPOINT, 0, "mem", config1=1 << 63, config2=8, period=1)

    with pytest.raises(PermissionRefused, match="is an address of the kernel"):
        exposed(sample_format("mem:jiffies"), ALL, origin)


PRINTED = """\
name: printed
ID: 1
format:
\tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;

\tfield:void * pointer;\toffset:8;\tsize:8;\tsigned:0;
\tfield:unsigned long place;\toffset:16;\tsize:8;\tsigned:0;
\tfield:unsigned long size;\toffset:24;\tsize:8;\tsigned:0;
\tfield:u64 peer;\toffset:32;\tsize:8;\tsigned:0;
\tfield:int width;\toffset:40;\tsize:4;\tsigned:1;
\tfield:unsigned long last;\toffset:48;\tsize:8;\tsigned:0;

print fmt: FMT
"""


@pytest.mark.parametrize(
    ("print_fmt", "hidden"),
    [
        ('"%lu", REC->size', {"pointer"}),
        ('"%pS %lu", (void *)REC->place, REC->size', {"pointer", "place"}),
        # Widths are arguments, too, and percent signs are none.
        ('"100%% %*d %lx %px", REC->width, 1, REC->size, REC->last', {"pointer", "last"}),
        # What lies there, and not where.
        ('"%pI4 %pISpc %pM", &REC->peer, &REC->size, &REC->place', {"pointer"}),
        # Only the kernel can tell.
        ('"%p", some_function(REC->size)', {"pointer", "place", "size", "peer", "last"}),
        ('"%d", some_function(REC->size)', {"pointer"}),
    ],
)
def test_addresses_are_what_is_printed_as_such(print_fmt: str, hidden: set[str]) -> None:
    printed = parse_format("system", PRINTED.replace("FMT", print_fmt))

    assert address_blanks(selected(printed)) == Blanks(kernel_addresses=frozenset(hidden))


def test_arguments_of_system_calls_and_programs_are_no_addresses_of_the_kernel() -> None:
    for system in ("syscalls", "raw_syscalls", "uprobe", "uretprobe", "usdt"):
        format = event(system, "any", ("char * buffer", 8, 8, False))
        assert address_blanks(selected(format)) == NO_BLANKS


def test_any_register_of_the_kernel_may_hold_an_address() -> None:
    fields = (("long ret", 8, 8, True), ("int narrow", 16, 4, True))
    probe = Probe(True, (Site(0, "", "function"),))

    blanks = address_blanks(selected(event("kretprobe", "any", *fields), probe))

    assert blanks == Blanks(kernel_addresses=frozenset({"ret"}))


@pytest.mark.parametrize(
    ("restricted", "paranoid", "root", "others"),
    [(0, 1, True, True), (0, 2, True, False), (1, -1, True, False), (2, -1, False, False)],
)
def test_addresses_are_shown_as_the_kernel_would(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    restricted: int,
    paranoid: int,
    root: bool,
    others: bool,
) -> None:
    (tmp_path / "kptr_restrict").write_text(f"{restricted}\n")
    (tmp_path / "perf_event_paranoid").write_text(f"{paranoid}\n")
    monkeypatch.setattr(addresses, "_SETTINGS", tmp_path)

    assert (shows_addresses(ROOT), shows_addresses(ANN)) == (root, others)


def test_where_settings_cannot_be_read_addresses_are_hidden(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(addresses, "_SETTINGS", tmp_path)

    assert not shows_addresses(ROOT)


@pytest.mark.parametrize(
    ("granted", "asked", "given"),
    [
        (StackParts.ALL, (True, True), (True, True)),
        (StackParts.USER, (True, True), (False, True)),
        (StackParts.KERNEL, (True, True), (True, False)),
        (StackParts.USER, (False, True), (False, True)),
        # Options may leave none of the parts that the session asks for.
        (StackParts.NONE, (False, False), (False, False)),
        (StackParts.USER, (True, False), "error: the policy shows you no kernel stacks of a:b"),
        (StackParts.KERNEL, (False, True), "error: the policy shows you no user stacks of a:b"),
        (StackParts.NONE, (True, True), "error: the policy shows you no stacks of a:b"),
    ],
)
def test_parts_of_stacks_are_those_that_are_granted(
    granted: StackParts, asked: tuple[bool, bool], given: tuple[bool, bool] | str
) -> None:
    of = selected(event("a", "b"))
    if isinstance(given, tuple):
        assert stack_parts(of, granted, *asked) == given
        return
    with pytest.raises(PermissionRefused) as refused:
        stack_parts(of, granted, *asked)
    assert str(refused.value) == given
