"""The C of a module: every hole filled, by numbers and checked trees only."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Any

import filterevents
import pytest
from madeup import Declared, event, make_tracefs

from ptrace_formats.event_format import EventFormat
from ptraced.errors import Unavailable
from ptraced.filter import check_filter, parse_filter
from ptraced.layout import Blanks, lay_out
from ptraced.origin import Probe, Site
from ptraced.program import EventPlan, ModulePlan, fill_scope, module_texts
from ptraced.scope import Scope
from ptraced.syscall_family import Dispatched
from ptraced.tracefs import Tracefs

PLAIN = event(
    "sys",
    "plain",
    ("u64 address", 8, 8, False),
    ("int value", 16, 4, True),
    ("int odd", 21, 4, True),
    ("u8 raw[16]", 32, 16, False),
    ("u8 long_raw[12]", 49, 12, False),
)
TEXT = event(
    "sys",
    "text",
    ("__data_loc char[] path", 8, 4, False),
    ("__rel_loc char[] link", 12, 4, False),
    event_id=2,
)
LARGE = event("sys", "large", ("u8 raw[400]", 8, 400, False), event_id=3)
EVERYWHERE = Scope()
NEWTASK: tuple[Declared, ...] = (
    ("pid_t pid", 8, 4, True),
    ("char comm[16]", 12, 16, False),
    ("unsigned long clone_flags", 32, 8, False),
)
FREE: tuple[Declared, ...] = (("char comm[16]", 8, 16, False), ("pid_t pid", 24, 4, True))


@pytest.fixture(autouse=True)
def six_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ptraced.program.possible_cpus", lambda: 6)


@pytest.fixture
def tracefs(tmp_path: Path) -> Tracefs:
    return make_tracefs(tmp_path, {"task:task_newtask": NEWTASK, "sched:sched_process_free": FREE})


def planned(
    format: EventFormat, *wanted: str, condition: str = "", everything: bool = False
) -> EventPlan:
    checked = check_filter(parse_filter(condition), format) if condition else None
    return EventPlan(format, checked, lay_out(format, None if everything else wanted))


def text_of(tracefs: Tracefs, *events: EventPlan, scope: Scope = EVERYWHERE) -> str:
    return whole_text(ModulePlan(events, scope), tracefs)


def whole_text(plan: ModulePlan, tracefs: Tracefs) -> str:
    """The text of a module of a few events."""
    (text,) = module_texts(plan, tracefs)
    return text


def copies(text: str, number: int = 0) -> list[str]:
    """What the program of an event does between checking and submitting."""
    body = text.partition(f"int run_event_{number}(void *hit)")[2]
    between = body.partition("room->bytes;\n#endif\n\t")[2].partition("\n\tif (!rows.perf")[0]
    return between.replace("\n\t", "\n").splitlines()


@pytest.mark.parametrize(
    "scope",
    [
        EVERYWHERE,
        Scope(cpus=(0, 2)),
        Scope(pids=(1,)),
        Scope(tids=(1,)),
        Scope(cgroups=("/a", "/b")),
        Scope((1,), (2,), (3,), ("/c",)),
        pytest.param(Scope(owner=1000), marks=pytest.mark.needs_kernel("BTF")),
    ],
    ids=str,
)
def test_no_hole_is_left(tracefs: Tracefs, scope: Scope) -> None:
    events = (
        planned(PLAIN, everything=True, condition='value > 3 && COMM ~ "a*b"'),
        planned(TEXT, everything=True, condition='path == "/etc"'),
    )
    plan = ModulePlan(events, scope, {0: Dispatched("enter", 1)})

    assert "@" not in whole_text(plan, tracefs)


@pytest.mark.needs_kernel("BTF")
def test_the_text_is_the_same_for_all_owners_and_the_source_is_not(tracefs: Tracefs) -> None:
    one, other = (ModulePlan((planned(PLAIN),), Scope(owner=uid)) for uid in (1000, 1001))

    assert whole_text(one, tracefs) == whole_text(other, tracefs)
    assert one.key != other.key


@pytest.mark.needs_kernel("BTF")
def test_an_owners_tasks_are_told_before_anything_else_is_looked_at(tracefs: Tracefs) -> None:
    everything = Scope((1,), (2,), (3,), ("/c",), owner=1000)
    text = text_of(tracefs, planned(PLAIN, "value"), scope=everything)

    body = text.partition("bool in_scope(void)")[2].partition("return true;")[0]
    assert body.index("is_own()") < min(map(body.index, ("cpu ==", "processes", "cgroups")))
    assert "#if 1\n\tif (!is_own())\n\t\treturn false;\n#endif" in body


def test_each_column_is_copied_from_its_place_to_its_place(tracefs: Tracefs) -> None:
    text = text_of(tracefs, planned(PLAIN, "_pid", "_tid", "address", "value", "odd"))

    assert copies(text) == [
        "*(u64 *)(row + 0) = bpf_ktime_get_ns();",
        "*(u64 *)(row + 8) = *(u64 *)(ctx + 8);",
        "*(u32 *)(row + 16) = bpf_get_current_pid_tgid() >> 32;",
        "*(u32 *)(row + 20) = bpf_get_current_pid_tgid();",
        "*(u32 *)(row + 24) = *(u32 *)(ctx + 16);",
        # The verifier wants aligned loads from the context.
        "bpf_probe_read_kernel(row + 28, 4, (void *)((u64)ctx + 21));",
    ]
    assert "u32 end = 32;" in text


def test_arrays_are_copied_by_loads_or_by_one_call(tracefs: Tracefs) -> None:
    text = text_of(tracefs, planned(PLAIN, "raw", "long_raw"))

    assert copies(text)[1:] == [
        "*(u64 *)(row + 8) = *(u64 *)(ctx + 32); *(u64 *)(row + 16) = *(u64 *)(ctx + 40);",
        "bpf_probe_read_kernel(row + 24, 12, (void *)((u64)ctx + 49));",
    ]


def test_common_columns_that_no_program_knows_are_zero(tracefs: Tracefs) -> None:
    text = text_of(tracefs, planned(PLAIN, "_comm", "common_flags", "common_preempt_count"))

    assert copies(text)[1:] == [
        "__builtin_memset(row + 8, 0, 16); bpf_get_current_comm(row + 8, 16);",
        "*(u8 *)(row + 24) = 0;",
        "*(u8 *)(row + 25) = 0;",
    ]


def test_what_is_blank_is_not_read(tracefs: Tracefs) -> None:
    blanks = Blanks(frozenset({"value", "raw", "path"}))
    fixed = EventPlan(PLAIN, None, lay_out(PLAIN, ("value", "raw", "_tid"), blanks=blanks))
    dynamic = EventPlan(TEXT, None, lay_out(TEXT, ("path",), blanks=blanks))

    assert copies(text_of(tracefs, fixed))[1:] == [
        "__builtin_memset(row + 8, 0, 16);",
        "*(u32 *)(row + 24) = bpf_get_current_pid_tgid();",
        "__builtin_memset(row + 28, 0, 4);",
    ]
    assert copies(text_of(tracefs, dynamic))[1:] == [
        "*(u32 *)(row + 8) = end - 0; *(u32 *)(row + 12) = 0;"
    ]


def test_addresses_of_the_kernel_are_zero_and_error_numbers_are_not(tracefs: Tracefs) -> None:
    blanks = Blanks(kernel_addresses=frozenset({"address"}))
    plan = EventPlan(PLAIN, None, lay_out(PLAIN, ("address",), blanks=blanks))

    assert copies(text_of(tracefs, plan))[1:] == [
        "*(u64 *)(row + 8) = *(u64 *)(ctx + 8); "
        "if (*(s64 *)(row + 8) < -4095) *(u64 *)(row + 8) = 0;"
    ]


def test_who_is_shown_less_has_a_program_of_its_own() -> None:
    whole, blank, masked = (
        ModulePlan((EventPlan(PLAIN, None, lay_out(PLAIN, ("address",), blanks=blanks)),), Scope())
        for blanks in (
            Blanks(),
            Blanks(frozenset({"address"})),
            Blanks(kernel_addresses=frozenset({"address"})),
        )
    )

    assert len({whole.key, blank.key, masked.key}) == 3


def test_dynamic_data_goes_behind_the_row_counted_from_where_its_locator_says(
    tracefs: Tracefs,
) -> None:
    text = text_of(tracefs, planned(TEXT, "path", "link"))

    assert copies(text)[1:] == [
        "if (end > 8215) goto lost; end = copy_dynamic(ctx, *(u32 *)(ctx + 8), 0, row, 0, 8, end);",
        "if (end > 8215) goto lost; "
        "end = copy_dynamic(ctx, *(u32 *)(ctx + 12), 16, row, 0, 16, end);",
    ]
    assert "u32 end = 24;" in text


@pytest.mark.parametrize(
    ("plan", "on_stack"),
    [
        (planned(PLAIN, everything=True), True),
        (planned(TEXT, "path"), False),
        (planned(LARGE, "raw"), False),
    ],
    ids=["small", "dynamic", "large"],
)
def test_only_small_rows_without_dynamic_data_are_on_the_stack(
    tracefs: Tracefs, plan: EventPlan, on_stack: bool
) -> None:
    body = text_of(tracefs, plan).partition("int run_event_0(void *hit)")[2]

    assert f"#if {int(on_stack)}\n\tu8 row[" in body


def test_rows_of_events_that_share_a_ring_are_tagged_and_padded(tracefs: Tracefs) -> None:
    events = (planned(PLAIN, "value"), planned(PLAIN, "address", "value"))
    plan = ModulePlan(events, EVERYWHERE)

    text = whole_text(plan, tracefs)

    assert (plan.tagged, plan.padded_size) == (True, 28)
    assert text.count("u32 end = 28;") == 2
    assert copies(text, 0)[:3] == [
        "*(u64 *)row = 0;",
        "*(u64 *)(row + 8) = bpf_ktime_get_ns();",
        "*(u32 *)(row + 16) = *(u32 *)(ctx + 16);",
    ]
    assert copies(text, 1)[0] == "*(u64 *)row = 1;"
    assert "count_lost(1);" in text
    # Nothing of the stack that was not written gets out.
    assert "__builtin_memset(row + 20, 0, 8);" in text
    assert 'BPF_F_TABLE("array", u32, u64, lost, 12, BPF_F_MMAPABLE);' in text


def test_an_event_of_its_own_has_neither_tag_nor_padding() -> None:
    plan = ModulePlan((planned(PLAIN, "value"),), EVERYWHERE)

    assert (plan.tagged, plan.padded_size) == (False, 0)


@pytest.mark.parametrize("other", [planned(TEXT, "path"), planned(LARGE, "raw")])
def test_dynamic_or_large_rows_are_tagged_and_keep_their_sizes(
    tracefs: Tracefs, other: EventPlan
) -> None:
    plan = ModulePlan((planned(PLAIN, "value"), other), EVERYWHERE)

    text = whole_text(plan, tracefs)

    assert (plan.tagged, plan.padded_size) == (True, 0)
    assert "u32 end = 20;" in text
    assert f"u32 end = {other.layout.row_size + 8};" in text


def test_offsets_in_a_tagged_row_are_counted_behind_the_tag(tracefs: Tracefs) -> None:
    text = text_of(tracefs, planned(PLAIN, "value"), planned(TEXT, "path"))

    assert copies(text, 1)[2:] == [
        "if (end > 8215) goto lost; end = copy_dynamic(ctx, *(u32 *)(ctx + 8), 0, row, 8, 16, end);"
    ]


def test_an_unlimited_scope_tests_nothing(tracefs: Tracefs) -> None:
    body = text_of(tracefs, planned(PLAIN)).partition("bool in_scope(void)")[2]

    assert re.findall(r"#if (\d+)", body.partition("return true;")[0]) == ["0", "0", "0", "0"]


def test_cpus_are_compared_one_by_one(tracefs: Tracefs) -> None:
    text = text_of(tracefs, planned(PLAIN), scope=Scope(cpus=(0, 3)))

    assert "if (!(cpu == 0 || cpu == 3))" in text
    assert "#if 1\n\tu32 cpu = bpf_get_smp_processor_id();" in text


@pytest.mark.parametrize("scope", [Scope(pids=(7,)), Scope(tids=(8,))])
def test_tasks_are_followed_by_the_offsets_of_this_kernel(tracefs: Tracefs, scope: Scope) -> None:
    text = text_of(tracefs, planned(PLAIN), scope=scope)

    assert "#if 1\n// task:task_newtask" in text
    assert "u32 child = *(u32 *)(ctx + 8);" in text
    assert "u64 flags = *(u64 *)(ctx + 32);" in text
    assert "u32 task = *(u32 *)(ctx + 24);" in text


def test_a_kernel_whose_task_events_differ_is_told(tmp_path: Path) -> None:
    events = {"task:task_newtask": NEWTASK[:2], "sched:sched_process_free": FREE}

    with pytest.raises(Unavailable) as caught:
        text_of(make_tracefs(tmp_path, events), planned(PLAIN), scope=Scope(pids=(7,)))

    assert str(caught.value) == "error: task:task_newtask has no 'clone_flags' on this kernel"


def test_cgroups_are_counted(tracefs: Tracefs) -> None:
    text = text_of(tracefs, planned(PLAIN), scope=Scope(cgroups=("/a", "/b", "/c")))

    assert "BPF_CGROUP_ARRAY(cgroups, 3);" in text
    assert "for (int i = 0; i < 3; i++)" in text


def test_dispatchers_are_there_where_events_are_dispatched(
    tracefs: Tracefs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ptraced.program.status_offset", lambda: 320)
    events = (planned(PLAIN),)

    with_dispatch = whole_text(ModulePlan(events, EVERYWHERE, {0: Dispatched("exit", 3)}), tracefs)
    without = whole_text(ModulePlan(events, EVERYWHERE), tracefs)

    assert "(task + 320)" in with_dispatch
    assert "int dispatch_exit(void *ctx)" in with_dispatch
    assert "dispatch" not in without


HOSTILE = [
    "name == '\"; } evil(); //'",
    "name == '*/ evil(); /*'",
    'name ~ "*evil();*@N@*"',
    's == "@FILTER@evil\\\\"',
    'd ~ "*#include <evil>*"',
    'COMM == "evil()"',
    'd == "\\nevil"',
]


@pytest.mark.parametrize("condition", HOSTILE)
def test_no_text_of_a_filter_gets_into_the_c(tracefs: Tracefs, condition: str) -> None:
    plain = text_of(tracefs, planned(filterevents.FORMAT))
    text = text_of(tracefs, planned(filterevents.FORMAT, condition=condition))

    assert text != plain
    assert "evil" not in text
    assert "@" not in text
    # Nor a character in another guise: numbers take no quotes.
    assert text.count('"') == plain.count('"')


def key(condition: str, *wanted: str, scope: Scope = EVERYWHERE) -> object:
    return ModulePlan((planned(PLAIN, *wanted, condition=condition),), scope).key


def test_plans_that_do_the_same_have_the_same_key() -> None:
    assert key("value == 16", "value", "odd") == key("(value==0x10)", "odd", "value")
    assert hash(key("value == 16")) == hash(key("value==0x10"))


@pytest.mark.parametrize(
    "other",
    [
        key("value == 17", "value"),
        key("", "value"),
        key("value == 16", "odd"),
        key("value == 16", "value", scope=Scope(cpus=(1,))),
        ModulePlan((planned(TEXT, "path"),), EVERYWHERE).key,
    ],
    ids=["filter", "no filter", "fields", "scope", "event"],
)
def test_plans_that_differ_have_other_keys(other: object) -> None:
    assert key("value == 16", "value") != other


@dataclass
class FakeMap:
    """Notes what is put into it; of descriptors, the file that they stand for."""

    content: dict[int, bytes] = field(default_factory=dict)
    files: list[str] = field(default_factory=list)

    def update(self, key: int, value: bytes) -> None:
        self.content[key] = value
        if len(value) == 4:
            self.files.append(os.readlink(f"/proc/self/fd/{int.from_bytes(value, 'little')}"))


def test_a_scope_is_filled_into_its_maps_and_no_descriptor_stays_open(tmp_path: Path) -> None:
    groups = [tmp_path / "a", tmp_path / "b"]
    for group in groups:
        group.mkdir()
    maps: Any = {name: FakeMap() for name in ("processes", "threads", "cgroups")}
    before = os.listdir("/proc/self/fd")

    fill_scope(Scope((), (5, 6), (7,), tuple(map(str, groups))), maps)

    assert maps["processes"].content == {5: b"\1", 6: b"\1"}
    assert maps["threads"].content == {7: b"\1"}
    assert maps["cgroups"].files == [str(group) for group in groups]
    assert list(maps["cgroups"].content) == [0, 1]
    assert os.listdir("/proc/self/fd") == before


def test_texts_of_other_lengths_do_not_share_a_source_even_where_only_the_filter_reads_them() -> (
    None
):
    def plan(longest: int) -> ModulePlan:
        field = replace(TEXT.fields[0], size=8, pointed=longest)
        format = replace(TEXT, fields=(field,))
        return ModulePlan((planned(format, condition='path ~ "*z*"'),), EVERYWHERE)

    assert plan(8).key != plan(4096).key
    assert plan(8).key == plan(8).key


def test_places_whose_records_are_alike_have_one_program(tracefs: Tracefs) -> None:
    records = ("record[0] = 1;", "record[0] = 2;", "record[0] = 1;")
    sites = tuple(Site(offset, record) for offset, record in enumerate(records))
    event = replace(planned(PLAIN), origin=Probe(False, sites))

    text = text_of(tracefs, event)

    assert text.count("int event_0(") == text.count("int event_0_1(") == 1
    assert "event_0_2" not in text
    assert event.records == records[:2]


def test_many_events_are_divided_into_texts_with_the_same_maps(tracefs: Tracefs) -> None:
    events = tuple(planned(tracefs.format("task", "task_newtask")) for _ in range(130))
    texts = list(module_texts(ModulePlan(events, EVERYWHERE), tracefs))
    programs = [re.findall(r"^int (event_\d+)\(", text, re.MULTILINE) for text in texts]
    assert [len(of_text) for of_text in programs] == [64, 64, 2]
    assert list(chain(*programs)) == [f"event_{number}" for number in range(130)]
    maps = [re.findall(r"^BPF_\w+\(.*\)", text, re.MULTILINE) for text in texts]
    assert maps[0] == maps[1] == maps[2] != []
