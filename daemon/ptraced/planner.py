"""From a TraceRequest to what is loaded for it, all of it checked before anything is."""

from __future__ import annotations

import mmap
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from ptrace_proto import ptrace_pb2 as pb
from ptraced.config import Config
from ptraced.errors import LimitExceeded, TraceError
from ptraced.identity import Caller
from ptraced.layout import NO_BLANKS, UNKNOWN_COLUMNS, Blanks, RowLayout, lay_out
from ptraced.origin import Probe, Sampled, Tracepoint
from ptraced.policy.exposure import Exposure
from ptraced.policy.grant import Grant
from ptraced.policy.processes import check_own
from ptraced.policy.renewal import Granted
from ptraced.policy.selection import blank_warnings, select
from ptraced.policy.task_rights import TaskRights, task_rights
from ptraced.program import EventPlan, ModulePlan, StackDepth
from ptraced.quotas.accounts import Holding
from ptraced.ring_set import RingOptions
from ptraced.sampling.layout import lay_out_sample
from ptraced.sampling.plan import SamplingPlan, event_scope
from ptraced.schema import event_schema
from ptraced.scope import TASKS_MAX, Scope, online_cpus, resolve_cpus, resolve_scope
from ptraced.selector import SelectedEvent, resolve
from ptraced.stack_depths import stack_depth, stack_warnings
from ptraced.syscall_family import dispatched
from ptraced.tracefs import Tracefs

# Up to this many events each get a module and a ring of their own, so that they can
# be shared with other sessions and read as equal rows. More of them share one.
_OWN_MODULE_MAX = 8
_LABEL_BYTES_MAX = 256
# More than there are events. A session keeps its request, where an empty one takes 60 bytes.
_PROJECTIONS_MAX = 4096
# So many programs of probes have a module together: the compiler's time grows faster than
# their number, and others wait for it.
_PROBES_PER_MODULE = 64
# Places of all probes together.
_PLACES_MAX = 1024
# The two maps of a scope's tasks: struct htab_elem with key and value, and a bucket, for each
# entry, which the kernel allocates at once (kernel/bpf/hashtab.c).
_TASKS_BYTES = 2 * TASKS_MAX * (64 + 16)
# Of one event: what has room in a row, with its stack.
_TEXTS_BYTES_MAX = 8000
# Of all events together: 3 s of the compiler. One filter has a limit of its own.
_FILTERS_BYTES_MAX = 128 << 10


@dataclass(frozen=True, slots=True)
class PlannedModule:
    """What one source is made from, and which schema each of its events has in the session."""

    plan: ModulePlan | SamplingPlan
    schema_ids: dict[int, int]


@dataclass(frozen=True, slots=True)
class SessionPlan:
    schemas: list[pb.EventSchema]
    modules: list[PlannedModule]
    rings: RingOptions
    warnings: list[str]
    # Names of the policy's rules that decided, each once.
    rules: list[str]
    granted: tuple[Granted, ...]
    # Whether stacks have the kernel's addresses.
    addresses: bool = True
    # What it may tell of tasks, and the layouts of its events by schema; where it is to.
    tasks: TaskRights | None = None
    layouts: dict[int, RowLayout] = field(default_factory=dict)

    def unpin(self) -> None:
        """Let go of the processes that were named, once what traces them is attached."""
        for module in self.modules:
            for pin in module.plan.scope.pins:
                pin.release()

    @property
    def holding(self) -> Holding:
        """What it takes of the host as long as it is traced."""
        plans = [module.plan for module in self.modules]
        cpus = len(online_cpus())
        rings = sum(len(plan.scope.cpus) or cpus for plan in plans)
        return Holding(
            programs=sum(plan.programs for plan in plans),
            probes=sum(plan.probes for plan in plans),
            buffer_bytes=rings * self.rings.pages * mmap.PAGESIZE
            + sum(_TASKS_BYTES for plan in plans if plan.scope.has_tasks),
            samples=sum(
                plan.timer_rate * (len(plan.scope.cpus) or cpus)
                for plan in plans
                if isinstance(plan, SamplingPlan)
            ),
        )


def plan_session(
    request: pb.TraceRequest, tracefs: Tracefs, headers: Path, config: Config, grant: Grant
) -> SessionPlan:
    """Check a request whole and plan it.

    Raises PermissionRefused for what `grant` does not allow, TraceError for what cannot be served.
    """
    if not request.selectors:
        raise TraceError("error: no event is selected; -e EVENT selects one")
    if len(request.projections) > _PROJECTIONS_MAX:
        raise LimitExceeded(
            f"error: {len(request.projections)} projections, at most {_PROJECTIONS_MAX} may be"
        )
    if len(request.label.encode()) > _LABEL_BYTES_MAX:
        raise TraceError(f"error: the session's label has more than {_LABEL_BYTES_MAX} bytes")
    scope = resolve_scope(request.scope)
    pids = (*scope.pids, *scope.tids)
    events = resolve(request.selectors, tracefs, config.limits.events_per_session, pids, grant)
    selected = select(events, grant)
    events, exposures = selected.events, selected.exposures
    if any(exposure.owner is not None for exposure in exposures):
        check_own(scope.pins, grant.caller)
    _check_filters(events)
    _check_probes(events)
    _check_wake_ups(request, events)
    frames = grant.quota.narrowest(config.quota).stack_depth
    depths = [
        stack_depth(request.stacks, event, exposure.rule.stacks, frames)
        for event, exposure in zip(events, exposures, strict=True)
    ]
    layouts = _layouts(events, depths, exposures, request.projections)
    schemas = [
        event_schema(
            number,
            event,
            layout,
            request.print_formats,
            depth is not None,
            text=request.format_texts,
        )
        for number, (event, layout, depth) in enumerate(
            zip(events, layouts, depths, strict=True), 1
        )
    ]
    chosen = list(zip(events, layouts, depths, exposures, strict=True))
    payer = grant.caller.uid if grant.quota.narrowest(config.quota).is_metered else None
    modules = [
        *_modules(chosen, scope, headers, payer),
        *_samplings(chosen, scope, payer, grant.caller),
    ]
    rings = _ring_options(request, config, any(layout.stack for layout in layouts))
    rules = list(dict.fromkeys(exposure.rule.name for exposure in exposures))
    tasks = task_rights(grant.caller, exposures) if request.task_records else None
    memory = tasks is not None and tasks.memory
    granted = tuple(
        _granted(*each, memory) for each in zip(events, exposures, schemas, depths, strict=True)
    )
    warnings = [
        *selected.warnings,
        *_warnings(request, events),
        *blank_warnings(events, layouts),
        *stack_warnings(request.stacks, events, depths),
    ]
    addresses = all(exposure.addresses for exposure in exposures)
    known = dict(enumerate(layouts, 1)) if request.task_records else {}
    return SessionPlan(schemas, modules, rings, warnings, rules, granted, addresses, tasks, known)


def _granted(
    event: SelectedEvent,
    exposure: Exposure,
    schema: pb.EventSchema,
    depth: StackDepth | None,
    memory: bool,
) -> Granted:
    columns = frozenset(field.name for field in schema.fields)
    parts: dict[str, int] = {}
    if depth is not None:
        parts = {"kernel": depth.kernel, "user": depth.user}
    if memory:
        # Others' mappings are told as long as their stacks may be.
        parts["user"] = 1
    # A probe holds its file open, and a session is longer than what is attached for it.
    kept = replace(event, origin=Tracepoint()) if isinstance(event.origin, Probe) else event
    return Granted(
        kept, exposure, columns, frozenset(part for part, frames in parts.items() if frames)
    )


def describe(
    request: pb.DescribeEventsRequest, tracefs: Tracefs, grant: Grant
) -> list[pb.EventSchema]:
    """The schemas of selected events with all their fields, of each event once at most.

    Raises PermissionRefused for what `grant` does not allow to be looked into.
    """
    pids = (*request.scope.pids, *request.scope.tids)
    events = resolve(request.selectors, tracefs, len(tracefs.names()), pids, grant)
    depths = [stack_depth(request.stacks, event) for event in events]
    return [
        event_schema(
            number, event, _layout(event, None, depth is not None), True, depth is not None
        )
        for number, (event, depth) in enumerate(zip(events, depths, strict=True), 1)
    ]


def _ring_options(request: pb.TraceRequest, config: Config, stacks: bool) -> RingOptions:
    most = config.limits.max_buffer_pages
    # Rows with stacks are several times as large as others.
    default = min(config.limits.buffer_pages * (2 if stacks else 1), most)
    pages = request.buffer_pages or default
    if pages & (pages - 1):
        raise TraceError(f"error: a buffer of {pages} pages: the size must be a power of two")
    if pages > most:
        raise LimitExceeded(f"error: a buffer of {pages} pages per CPU, at most {most} may be")
    size = pages * mmap.PAGESIZE
    if request.wake_every_event:
        return RingOptions(pages, 0)
    if request.watermark_percent > 100:
        raise TraceError(
            f"error: a watermark of {request.watermark_percent} percent: 100 is a full buffer"
        )
    if request.watermark_percent:
        return RingOptions(pages, max(1, size * request.watermark_percent // 100))
    watermark = min(config.reader.watermark_bytes, size // 2)
    return RingOptions(pages, watermark, smaller=not request.buffer_pages)


def _layouts(
    events: Sequence[SelectedEvent],
    depths: Sequence[StackDepth | None],
    exposures: Sequence[Exposure],
    projections: Sequence[pb.Projection],
) -> list[RowLayout]:
    wanted = {
        projection.event: None if projection.all_fields else frozenset(projection.fields)
        for projection in projections
    }
    return [
        _layout(event, wanted.get(_name(event)), depth is not None, exposure.blanks)
        for event, depth, exposure in zip(events, depths, exposures, strict=True)
    ]


def _name(event: SelectedEvent) -> str:
    """What a client calls the event."""
    name = event.alias or event.format.name
    return f"{event.format.system}:{name}" if event.format.system else name


def _layout(
    event: SelectedEvent,
    wanted: Collection[str] | None,
    stack: bool,
    blanks: Blanks = NO_BLANKS,
) -> RowLayout:
    make = lay_out_sample if isinstance(event.origin, Sampled) else lay_out
    return make(event.format, wanted, stack, blanks)


_Chosen = tuple[SelectedEvent, RowLayout, StackDepth | None, Exposure]


def _modules(
    chosen: Sequence[_Chosen], scope: Scope, headers: Path, payer: int | None
) -> Iterator[PlannedModule]:
    """Group events that have programs into modules: alike ones that are many share one."""
    groups: dict[tuple[Scope, bool], list[tuple[int, EventPlan]]] = {}
    for number, (event, layout, depth, exposure) in enumerate(chosen, 1):
        if isinstance(event.origin, Sampled):
            continue
        own = replace(scope, cpus=_event_cpus(event, scope), owner=exposure.owner)
        stack = depth or StackDepth(0, 0)
        plan = EventPlan(event.format, event.filter, layout, event.origin, stack)
        # Programs that user programs hit may be preempted in the middle, others may not: the
        # room in which they put rows together is not for both.
        groups.setdefault((own, plan.of_file), []).append((number, plan))
    for (own, _), members in groups.items():
        for part in _parts(members, len(chosen) <= _OWN_MODULE_MAX):
            module = tuple(plan for _, plan in part)
            places = dispatched([plan.format for plan in module], headers)
            yield PlannedModule(
                ModulePlan(module, own, places, payer),
                {position: number for position, (number, _) in enumerate(part)},
            )


def _parts(
    members: Sequence[tuple[int, EventPlan]], each_alone: bool
) -> Iterator[list[tuple[int, EventPlan]]]:
    """Divide a group of events into modules."""
    part: list[tuple[int, EventPlan]] = []
    probes = 0
    for member in members:
        own = len(member[1].records) if isinstance(member[1].origin, Probe) else 0
        if part and (each_alone or probes + own > _PROBES_PER_MODULE):
            yield part
            part, probes = [], 0
        part.append(member)
        probes += own
    yield part


def _check_probes(events: Sequence[SelectedEvent]) -> None:
    """Refuse probes that would keep the compiler or the kernel busy for long."""
    probes = [event.origin for event in events if isinstance(event.origin, Probe)]
    places = sum(probe.breakpoints for probe in probes)
    if places > _PLACES_MAX:
        raise LimitExceeded(
            f"error: the probes have {places} places together, at most {_PLACES_MAX} are possible"
        )
    for event in events:
        size = sum(field.pointed for field in event.format.fields)
        if size > _TEXTS_BYTES_MAX:
            raise LimitExceeded(
                f"error: '{event.text}': the texts have {size} bytes together, at most "
                f"{_TEXTS_BYTES_MAX} are possible"
            )


def _samplings(
    chosen: Sequence[_Chosen], scope: Scope, payer: int | None, caller: Caller
) -> Iterator[PlannedModule]:
    """Events that sample have a source each."""
    for number, (event, layout, depth, exposure) in enumerate(chosen, 1):
        if isinstance(event.origin, Sampled):
            own = replace(scope, cpus=_event_cpus(event, scope), owner=exposure.owner)
            own = event_scope(own, event.options)
            if own.owner is not None:
                check_own(own.pins, caller)
            plan = SamplingPlan(
                event.format,
                event.origin,
                layout,
                own,
                event.filter,
                depth or StackDepth(0, 0),
                payer,
            )
            yield PlannedModule(plan, {0: number})


def _event_cpus(event: SelectedEvent, scope: Scope) -> tuple[int, ...]:
    """cpus= of a selector narrows the session's."""
    if not event.cpus:
        return scope.cpus
    own = resolve_cpus(event.cpus)
    if not scope.cpus:
        return own
    both = tuple(cpu for cpu in own if cpu in scope.cpus)
    if not both:
        raise TraceError(
            f"error: '{event.text}': cpus={event.cpus} has no CPU in common with the session's"
        )
    return both


def _warnings(request: pb.TraceRequest, events: Sequence[SelectedEvent]) -> list[str]:
    warnings = []
    asked = {name for projection in request.projections for name in projection.fields}
    unknown = sorted(asked & UNKNOWN_COLUMNS)
    if unknown:
        warnings.append(f"{' and '.join(unknown)} cannot be known to a BPF program and read as 0")
    if any(isinstance(event.origin, Probe) and event.origin.processes for event in events):
        warnings.append(
            "probes of files that are not yours are in the processes that -p names, not in those "
            "that they start"
        )
    return warnings


def _check_filters(events: Sequence[SelectedEvent]) -> None:
    """Refuse filters that together would keep the compiler busy for long."""
    size = sum(len(event.filter.canonical) for event in events if event.filter is not None)
    if size > _FILTERS_BYTES_MAX:
        raise LimitExceeded(
            f"error: the filters of all events have {size} bytes together, at most "
            f"{_FILTERS_BYTES_MAX} are possible; a shorter one, or fewer events, will do"
        )


def _check_wake_ups(request: pb.TraceRequest, events: Sequence[SelectedEvent]) -> None:
    """Refuse to wake the reader at every run of what wakes it."""
    for event in events:
        name = f"{event.format.system}:{event.format.name}"
        if request.wake_every_event and name.startswith("irq_vectors:irq_work_"):
            raise TraceError(
                f"error: {name} with a watermark of 0: each event would cause the next one; "
                "a watermark of 1 percent or more does"
            )
