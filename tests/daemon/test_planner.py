"""What a request becomes, and what is refused before anything is loaded."""

from __future__ import annotations

import mmap
import os
from pathlib import Path

import pytest
from madeup import Declared, make_tracefs

from ptrace_formats.event_format import EventFormat, FormatField
from ptrace_proto import ptrace_pb2 as pb
from ptraced.config import Config, Limits, Reader
from ptraced.errors import LimitExceeded, TraceError
from ptraced.identity import Caller
from ptraced.origin import Probe, Site
from ptraced.planner import SessionPlan, describe, plan_session
from ptraced.policy.builtin import owner
from ptraced.policy.grant import Policy
from ptraced.program import ModulePlan
from ptraced.ring_set import RingOptions
from ptraced.tracefs import Tracefs

PID: Declared = ("pid_t pid", 8, 4, True)
PRIO: Declared = ("int prio", 12, 4, True)
EVENTS: dict[str, tuple[Declared, ...]] = {
    "sched:wakeup": (PID, PRIO),
    "sched:switch": (PID, PRIO),
    "irq_vectors:irq_work_entry": (("int vector", 8, 4, True),),
    **{f"many:event_{letter}": (PID,) for letter in "abcdefghi"},
}
CONFIG = Config(
    limits=Limits(buffer_pages=64, max_buffer_pages=256, events_per_session=10),
    reader=Reader(watermark_bytes=100_000),
)
GRANT = Policy((owner(0),)).grant(Caller(0, 0))


@pytest.fixture
def tracefs(tmp_path: Path) -> Tracefs:
    return make_tracefs(tmp_path, EVENTS)


@pytest.fixture(autouse=True)
def four_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ptraced.scope.online_cpus", lambda: (0, 1, 2, 3))


def plan(tracefs: Tracefs, *selectors: str, **request: object) -> SessionPlan:
    asked = pb.TraceRequest(selectors=selectors, **request)  # type: ignore[arg-type]
    return plan_session(asked, tracefs, tracefs.root / "headers", CONFIG, GRANT)


def columns(planned: SessionPlan) -> list[list[str]]:
    return [[field.name for field in schema.fields] for schema in planned.schemas]


def test_few_events_have_a_module_each_with_their_schemas_number(tracefs: Tracefs) -> None:
    planned = plan(tracefs, "sched:switch,many:event_[a-g]")

    assert [schema.id for schema in planned.schemas] == list(range(1, 9))
    assert [module.schema_ids for module in planned.modules] == [{0: n} for n in range(1, 9)]
    assert [module.plan.events[0].format.name for module in planned.modules] == [
        schema.name for schema in planned.schemas
    ]


def test_more_events_share_a_module(tracefs: Tracefs) -> None:
    (module,) = plan(tracefs, "many:*").modules

    assert module.schema_ids == {position: position + 1 for position in range(9)}
    assert [event.format.name for event in module.plan.events] == [
        f"event_{letter}" for letter in "abcdefghi"
    ]


def test_events_of_other_cpus_do_not_share_a_module(tracefs: Tracefs) -> None:
    planned = plan(tracefs, "many:event_a//cpus=2/,many:event_[b-i],sched:switch//cpus=2/")

    assert [(module.plan.scope.cpus, module.schema_ids) for module in planned.modules] == [
        ((2,), {0: 1, 1: 10}),
        ((), {position: position + 2 for position in range(8)}),
    ]


def test_cpus_of_a_selector_narrow_the_sessions(tracefs: Tracefs) -> None:
    planned = plan(tracefs, "sched:switch//cpus=1-3/,sched:wakeup", scope=pb.Scope(cpus="0-2"))

    assert [module.plan.scope.cpus for module in planned.modules] == [(1, 2), (0, 1, 2)]


def test_a_projection_is_by_name_and_by_alias(tracefs: Tracefs) -> None:
    planned = plan(
        tracefs,
        "sched:switch,sched:switch//alias=mine/,sched:wakeup//alias=all/",
        projections=[
            pb.Projection(event="sched:switch", fields=["prio"]),
            pb.Projection(event="sched:mine", fields=["_tid"]),
            pb.Projection(event="sched:all", all_fields=True),
        ],
    )

    named, aliased, everything = columns(planned)
    assert (named, aliased) == (["_time", "prio"], ["_time", "_tid"])
    assert everything == columns(plan(tracefs, "sched:wakeup"))[0]
    assert set(everything) >= {"_time", "_pid", "_tid", "_comm", "pid", "prio"}


def test_describing_gives_all_fields(tracefs: Tracefs) -> None:
    first, second = describe(pb.DescribeEventsRequest(selectors=["sched:*"]), tracefs, GRANT)

    assert (first.id, first.name, second.id, second.name) == (1, "switch", 2, "wakeup")
    assert [field.name for field in second.fields] == columns(plan(tracefs, "sched:wakeup"))[0]


@pytest.mark.parametrize(
    ("request_fields", "expected"),
    [
        # By default at most half a ring waits, and fewer pages do.
        ({}, RingOptions(64, 100_000, smaller=True)),
        ({"buffer_pages": 32}, RingOptions(32, 16 * mmap.PAGESIZE)),
        ({"buffer_pages": 256}, RingOptions(256, 100_000)),
        ({"watermark_percent": 25}, RingOptions(64, 16 * mmap.PAGESIZE)),
        ({"watermark_percent": 100}, RingOptions(64, 64 * mmap.PAGESIZE)),
        ({"wake_every_event": True}, RingOptions(64, 0)),
    ],
)
def test_rings_are_as_asked_for(
    tracefs: Tracefs, request_fields: dict[str, object], expected: RingOptions
) -> None:
    assert plan(tracefs, "sched:switch", **request_fields).rings == expected


@pytest.mark.parametrize(
    ("request_fields", "kind", "message"),
    [
        (
            {"buffer_pages": 48},
            TraceError,
            "error: a buffer of 48 pages: the size must be a power of two",
        ),
        (
            {"buffer_pages": 512},
            LimitExceeded,
            "error: a buffer of 512 pages per CPU, at most 256 may be",
        ),
        (
            {"watermark_percent": 101},
            TraceError,
            "error: a watermark of 101 percent: 100 is a full buffer",
        ),
        (
            {"projections": [pb.Projection()] * 4097},
            LimitExceeded,
            "error: 4097 projections, at most 4096 may be",
        ),
        (
            {"label": "\u00e9" * 129},
            TraceError,
            "error: the session's label has more than 256 bytes",
        ),
        (
            {"projections": [pb.Projection(event="sched:switch", fields=["pidd"])]},
            TraceError,
            "error: sched:switch has no field 'pidd' (did you mean 'pid'?)",
        ),
        (
            {"scope": pb.Scope(cpus="2,7")},
            TraceError,
            "error: CPU 7 is not online (online: 0,1,2,3)",
        ),
    ],
)
def test_what_cannot_be_served_is_refused(
    tracefs: Tracefs, request_fields: dict[str, object], kind: type[TraceError], message: str
) -> None:
    with pytest.raises(kind) as caught:
        plan(tracefs, "sched:switch", **request_fields)
    assert str(caught.value) == message
    assert type(caught.value) is kind


def test_a_label_of_256_bytes_may_be(tracefs: Tracefs) -> None:
    assert plan(tracefs, "sched:switch", label="\u00e9" * 128).schemas


def test_a_request_without_an_event_says_how_to_select_one(tracefs: Tracefs) -> None:
    with pytest.raises(TraceError) as caught:
        plan(tracefs)
    assert str(caught.value) == "error: no event is selected; -e EVENT selects one"


def test_the_limit_of_events_counts_what_wildcards_become(tracefs: Tracefs) -> None:
    assert len(plan(tracefs, "many:*,sched:switch").schemas) == 10
    with pytest.raises(LimitExceeded, match=r"^error: .*\b10\b"):
        plan(tracefs, "many:*,sched:*")


def test_cpus_without_any_of_the_sessions_are_refused(tracefs: Tracefs) -> None:
    with pytest.raises(TraceError) as caught:
        plan(tracefs, "sched:switch//cpus=3/", scope=pb.Scope(cpus="0-1"))
    assert str(caught.value) == (
        "error: 'sched:switch//cpus=3/': cpus=3 has no CPU in common with the session's"
    )


def test_an_event_that_waking_causes_must_not_wake(tracefs: Tracefs) -> None:
    with pytest.raises(TraceError) as caught:
        plan(tracefs, "irq_vectors:*", wake_every_event=True)
    assert str(caught.value) == (
        "error: irq_vectors:irq_work_entry with a watermark of 0: each event would cause the "
        "next one; a watermark of 1 percent or more does"
    )
    assert plan(tracefs, "irq_vectors:*", watermark_percent=1).schemas


@pytest.mark.parametrize(
    ("selector", "request_fields", "expected"),
    [
        ("sched:switch", {}, []),
        (
            "sched:switch",
            {"projections": [pb.Projection(event="sched:switch", fields=["common_flags", "pid"])]},
            ["common_flags cannot be known to a BPF program and read as 0"],
        ),
        (
            "sched:switch",
            {
                "projections": [
                    pb.Projection(
                        event="sched:switch", fields=["common_preempt_count", "common_flags"]
                    )
                ]
            },
            [
                "common_flags and common_preempt_count cannot be known to a BPF program "
                "and read as 0"
            ],
        ),
    ],
)
def test_what_is_not_delivered_is_warned_of(
    tracefs: Tracefs, selector: str, request_fields: dict[str, object], expected: list[str]
) -> None:
    assert plan(tracefs, selector, **request_fields).warnings == expected


def probes(monkeypatch: pytest.MonkeyPatch, *found: tuple[EventFormat, Probe]) -> None:
    """Let probes be found where there are none."""
    monkeypatch.setattr("ptraced.selector.find_probes", lambda *_, **__: list(found))


def probe(name: str, *records: str, pointed: int = 0) -> tuple[EventFormat, Probe]:
    kind = pb.FIELD_KIND_DYNAMIC_STRING if pointed else pb.FIELD_KIND_UNSIGNED
    field = FormatField("arg1", "long", kind, 8, 8, False, 8, False, False, pointed)
    sites = tuple(Site(offset, record) for offset, record in enumerate(records))
    return EventFormat("usdt", name, 0, (), (field,), ""), Probe(False, sites)


def test_many_probes_are_divided_among_modules(
    tracefs: Tracefs, monkeypatch: pytest.MonkeyPatch
) -> None:
    # GIVEN ten probes, each at 20 places of which two are alike
    records = [f"record[1] = {number};" for number in range(19)]
    probes(monkeypatch, *(probe(f"n{number}", *records, "record[1] = 0;") for number in range(10)))

    modules = [module.plan for module in plan(tracefs, "usdt:p:*@libc").modules]

    assert [len(module.events) for module in modules if isinstance(module, ModulePlan)] == [
        *(3, 3, 3, 1)
    ]


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (
            [probe(f"n{number}", *["record[1] = 0;"] * 206) for number in range(5)],
            "error: the probes have 1030 places together, at most 1024 are possible",
        ),
        (
            [probe("n", "record[1] = 0;", pointed=8001)],
            "error: 'usdt:p:*@libc': the texts have 8001 bytes together, at most 8000 are possible",
        ),
    ],
    ids=["places", "texts"],
)
def test_probes_that_are_too_much(
    tracefs: Tracefs,
    monkeypatch: pytest.MonkeyPatch,
    found: list[tuple[EventFormat, Probe]],
    message: str,
) -> None:
    probes(monkeypatch, *found)

    with pytest.raises(LimitExceeded) as error:
        plan(tracefs, "usdt:p:*@libc")

    assert str(error.value) == message


def test_what_follows_children_counts_with_the_memory_of_its_maps(tracefs: Tracefs) -> None:
    me = pb.Scope(pids=[os.getpid()])
    with_maps = plan(tracefs, "sched:switch", scope=me).holding.buffer_bytes
    assert with_maps - plan(tracefs, "sched:switch").holding.buffer_bytes == 10 << 20
