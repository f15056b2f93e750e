"""A source: a module in the kernel, attached, with its rings. Sessions share it."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator

from ptrace_formats.event_format import EventFormat
from ptraced import bpf_maps, perf_event, uprobe_multi
from ptraced.bpf_maps import Map
from ptraced.bpf_object import BpfObject
from ptraced.errors import Unavailable
from ptraced.followers import any_alive, followers, hang
from ptraced.layout import RowLayout
from ptraced.loss_counts import LossCounts, LostEvents
from ptraced.origin import Probe, Site
from ptraced.probes.refusal import explain_refusal
from ptraced.program import EventPlan, ModulePlan, fill_scope, program_name
from ptraced.quotas.credit import Credit
from ptraced.quotas.run_time import RETURN_TRAP_NS, TRAP_NS, RunTime
from ptraced.ring_set import RingOptions, open_rings
from ptraced.rows import Rows, fixed_rows, tagged_rows, walked_rows
from ptraced.scope import online_cpus, possible_cpus
from ptraced.stacks import StacksOf
from ptraced.tracefs import Tracefs


class Source:
    """The kernel side of one ModulePlan, from load to close.

    Nothing is recorded before `start`. After `stop` no program submits any more;
    what the rings hold can still be read. `close` releases everything.
    """

    def __init__(
        self,
        plan: ModulePlan,
        compiled: BpfObject,
        options: RingOptions,
        tracefs: Tracefs,
        stacks: StacksOf,
    ) -> None:
        self.plan = plan
        # Whether the reader has to follow which programs processes run.
        self.needs_tasks = plan.user_stacks
        self._stacks = stacks
        self._padded = plan.padded_size
        self.layouts: list[RowLayout] = [event.layout for event in plan.events]
        self.rings: list[perf_event.Ring] = []
        # Programs that hang on tracepoints, with the event that each is accounted to.
        self._attached: dict[int, int] = {}
        self._resources = contextlib.ExitStack()
        with contextlib.ExitStack() as undo:
            undo.callback(self.close)
            self._make_maps(compiled)
            self._open_rings(options)
            self._attach(compiled, tracefs)
            undo.pop_all()
        self._skipped = {program: bpf_maps.skipped_runs(program) for program in self._attached}

    def start(self) -> None:
        """Let the programs submit."""
        self._enabled[:8] = (1).to_bytes(8, "little")

    def stop(self) -> None:
        """Make every program return at once, from now on."""
        self._enabled[:8] = bytes(8)

    def rows(self, ring: perf_event.Ring, buffer: memoryview) -> Iterator[Rows]:
        """Empty a ring into `buffer`; its rows are made, batch by batch, when asked for."""
        span = ring.read(buffer)
        if not span:
            return iter(())
        if self._padded:
            return tagged_rows(span, [layout.row_size for layout in self.layouts], self._padded)
        if self.plan.tagged or self.layouts[0].walked:
            return walked_rows(span, self.layouts, self._stacks)
        return fixed_rows(span, self.layouts[0].row_size)

    def lost(self) -> list[LostEvents]:
        """Failed submits since the last call, by event and CPU."""
        return self._loss_counts.new()

    def throttled(self) -> list[LostEvents]:
        """Hits since the last call that were only counted, by event and CPU."""
        return self._credit.throttled() if self._credit else []

    def set_credit(self, hits: int) -> None:
        """Let so many hits be submitted from now on, where the plan has a payer."""
        if self._credit:
            self._credit.set(hits)

    def run_time(self) -> int:
        """Time that the programs have taken on all CPUs, ns."""
        return self._run_time.total()

    def skipped(self) -> list[tuple[int, int]]:
        """(event, runs) that the kernel skipped since the last call.

        Runs of a dispatcher are accounted to the first of its events.
        """
        found = []
        for program, event in self._attached.items():
            total = bpf_maps.skipped_runs(program)
            if total != self._skipped[program]:
                found.append((event, total - self._skipped[program]))
                self._skipped[program] = total
        return found

    def warnings(self) -> list[str]:
        """What users should know of the source, once."""
        return self._stacks.warnings()

    def has_live_tasks(self) -> bool:
        """Whether any process or thread in scope still runs, followed children included."""
        return any_alive(self._maps)

    def close(self) -> None:
        """Release rings, probes, programs and maps; waits a grace period per probe.

        The memory shared with the kernel goes with the last reference to this source.
        """
        self._resources.close()

    def _make_maps(self, compiled: BpfObject) -> None:
        self._maps: dict[str, Map] = {}
        for name, spec in compiled.maps.items():
            self._maps[name] = Map(name, spec)
            self._resources.callback(self._maps[name].close)
        self._enabled = self._maps["enabled"].mapped()
        entry_ns = max(map(_entry_ns, self.plan.events))
        self._run_time = RunTime(self._maps["costs"].mapped(), possible_cpus(), entry_ns)
        limited = self.plan.payer is not None
        self._credit = Credit(self._maps, len(self.plan.events)) if limited else None
        self._loss_counts = LossCounts(self._maps["lost"].mapped(), possible_cpus())

    def _open_rings(self, options: RingOptions) -> None:
        def open_ring(cpu: int, pages: int, watermark: int) -> perf_event.Ring:
            return perf_event.Ring(cpu, pages, perf_event.output_attr(watermark))

        cpus = self.plan.scope.cpus or online_cpus()
        self.rings, self.pages = open_rings(cpus, options, open_ring)
        for ring in self.rings:
            self._resources.callback(ring.close)
            self._maps["rows"].update(ring.cpu, ring.fd.to_bytes(4, "little"))

    def _attach(self, compiled: BpfObject, tracefs: Tracefs) -> None:
        descriptors = {name: map_.fd for name, map_ in self._maps.items()}
        # Type of the program, and what it will be attached to where that has to be known early.
        kinds = {
            program_name(number, index): (
                bpf_maps.PROG_KPROBE,
                uprobe_multi.ATTACH_TYPE if event.of_file and uprobe_multi.is_available() else 0,
            )
            for number, event in enumerate(self.plan.events)
            for index, record in enumerate(event.records)
            if record is not None
        }
        loaded = {}
        for name, code in compiled.programs.items():
            kind, attach_type = kinds.get(name, (bpf_maps.PROG_TRACEPOINT, 0))
            instructions = code.linked(descriptors, self.plan.scope.owner)
            loaded[name] = bpf_maps.load_program(kind, name, instructions, attach_type)
            self._resources.callback(os.close, loaded[name])
        scope = self.plan.scope
        if scope.has_tasks:
            # First those that follow children: none may slip through in between.
            for name, format in followers(tracefs):
                self._hang(loaded[name], format)
        fill_scope(scope, self._maps)
        self._attach_dispatchers(loaded, tracefs)
        for number, event in enumerate(self.plan.events):
            place = self.plan.dispatched.get(number)
            if place is not None:
                program = loaded[program_name(number, 0)].to_bytes(4, "little")
                self._maps[f"syscall_{place.side}"].update(place.number, program)
                continue
            for site in event.sites:
                index = event.records.index(site.record if site is not None else None)
                program_fd = loaded[program_name(number, index)]
                self._attached[program_fd] = number
                if site is None:
                    self._hang(program_fd, event.format)
                else:
                    self._probe(program_fd, event, site)

    def _attach_dispatchers(self, loaded: dict[str, int], tracefs: Tracefs) -> None:
        first = {place.side: number for number, place in reversed(self.plan.dispatched.items())}
        for side, number in first.items():
            program = loaded[f"dispatch_{side}"]
            self._hang(program, tracefs.format("raw_syscalls", f"sys_{side}"))
            self._attached[program] = number

    def _hang(self, program: int, format: EventFormat) -> None:
        self._resources.callback(os.close, hang(program, format))

    def _probe(self, program: int, event: EventPlan, site: Site) -> None:
        probe = event.origin
        assert isinstance(probe, Probe)
        for process in probe.processes or (None,):
            try:
                fd = _attach_probe(program, probe, site, process.number if process else 0)
            except OSError as error:
                raise Unavailable(explain_refusal(event.format, probe, error)) from None
            self._resources.callback(os.close, fd)
            if process is not None and process.gone:
                # Another one may have its number by now, and the breakpoint.
                raise process.missing()


def _attach_probe(program: int, probe: Probe, site: Site, pid: int) -> int:
    cpu = online_cpus()[0]
    if probe.file is None:
        return perf_event.attach_kprobe(site.symbol, site.offset, probe.returns, program, cpu)
    place = (probe.file.fd, site.offset, site.semaphore, probe.returns)
    if uprobe_multi.is_available():
        return uprobe_multi.attach(program, *place, pid)
    return perf_event.attach_uprobe(*place, program, cpu, pid)


def _entry_ns(event: EventPlan) -> int:
    """What a run of an event's program takes besides the program, ns."""
    if not event.of_file or not isinstance(event.origin, Probe):
        return 0
    return RETURN_TRAP_NS if event.origin.returns else TRAP_NS


def now() -> int:
    """CLOCK_MONOTONIC in ns: the clock of bpf_ktime_get_ns and of _time."""
    return time.clock_gettime_ns(time.CLOCK_MONOTONIC)
