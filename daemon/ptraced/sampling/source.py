"""A source of samples: a perf event on each CPU, with its ring. Sessions share it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator

from ptraced import bpf_maps
from ptraced.bpf_maps import Map
from ptraced.bpf_object import BpfObject
from ptraced.followers import any_alive, followers, hang
from ptraced.layout import RowLayout
from ptraced.loss_counts import LostEvents
from ptraced.perf_event import Ring
from ptraced.program import fill_scope
from ptraced.quotas.credit import Credit
from ptraced.quotas.run_time import RunTime
from ptraced.ring_set import RingOptions, open_rings
from ptraced.rows import Rows
from ptraced.sampling.attr import counter_attr, sample_attr
from ptraced.sampling.layout import SampleFormat
from ptraced.sampling.plan import SamplingPlan
from ptraced.sampling.program import PROGRAM
from ptraced.sampling.records import SampleRows
from ptraced.sampling.refusal import explain_refusal
from ptraced.sampling.ring import SampleRing
from ptraced.scope import online_cpus, possible_cpus
from ptraced.stacks import StacksOf
from ptraced.tracefs import Tracefs


class SamplingSource:
    """The kernel side of one SamplingPlan, from opening to closing; see source.Source.

    `compiled` is the object of program.sample_text(), None where there is none. `comm_of` gives
    the name of a thread, for plans whose `names_tasks` is true.
    """

    def __init__(
        self,
        plan: SamplingPlan,
        compiled: BpfObject | None,
        options: RingOptions,
        tracefs: Tracefs,
        stacks: StacksOf,
        comm_of: Callable[[int], bytes],
    ) -> None:
        self.plan = plan
        # Whether the reader has to follow which programs processes run.
        self.needs_tasks = plan.user_stacks or plan.names_tasks
        self.layouts: list[RowLayout] = [plan.layout]
        depth = (plan.stack.kernel, plan.stack.user)
        format = SampleFormat(plan.shape, plan.layout, plan.constants, depth, comm_of)
        self._stacks = stacks
        self._samples = SampleRows(format, stacks)
        self._throttled = 0
        self._maps: dict[str, Map] = {}
        self._credit: Credit | None = None
        self._run_time: RunTime | None = None
        self._resources = contextlib.ExitStack()
        # Closed first: programs on tracepoints take their time, and breakpoints are few.
        self._open = contextlib.ExitStack()
        with contextlib.ExitStack() as undo:
            undo.callback(self.close)
            self._open_rings(options)
            if compiled is not None:
                self._attach(compiled, tracefs)
            undo.pop_all()

    def start(self) -> None:
        """Let the events sample."""
        for ring in self.rings:
            ring.start()

    def stop(self) -> None:
        """Make the events sample no more, from now on."""
        for ring in self.rings:
            ring.stop()

    def rows(self, ring: Ring, buffer: memoryview) -> Iterator[Rows]:
        """Empty a ring into `buffer`; its rows are made when they are asked for."""
        assert isinstance(ring, SampleRing)
        return self._samples.rows(ring.read(buffer), ring.told)

    def lost(self) -> list[LostEvents]:
        """Samples that were lost since the last call, by CPU."""
        counts = ((ring.cpu, ring.lost()) for ring in self.rings)
        return [LostEvents(0, cpu, count) for cpu, count in counts if count]

    def throttled(self) -> list[LostEvents]:
        """Samples since the last call that were only counted, by CPU."""
        return self._credit.throttled() if self._credit else []

    def set_credit(self, hits: int) -> None:
        """Let so many samples be taken from now on, where the plan has a payer."""
        if self._credit:
            self._credit.set(hits)

    def run_time(self) -> int:
        """Time that the program has taken on all CPUs, ns, without that of sampling as such."""
        return self._run_time.total() if self._run_time else 0

    def skipped(self) -> list[tuple[int, int]]:
        """Nothing: of samples that fall into another BPF program nobody keeps count."""
        return []

    def warnings(self) -> list[str]:
        """What users should know, once: that the kernel has paused the event."""
        throttled = sum(ring.told.throttled for ring in self.rings)
        if not throttled or self._throttled:
            return self._stacks.warnings()
        self._throttled = throttled
        return [
            *self._stacks.warnings(),
            f"{self.plan.format.name}: the kernel pauses it, since it samples more often than "
            "kernel.perf_event_max_sample_rate allows; samples are missing that nobody counts",
        ]

    def has_live_tasks(self) -> bool:
        """Whether any process or thread in scope still runs, followed children included."""
        return any_alive(self._maps)

    def close(self) -> None:
        """Release rings, programs and maps."""
        self._open.close()
        self._resources.close()

    def _open_rings(self, options: RingOptions) -> None:
        plan, shape = self.plan, self.plan.shape
        depth = (plan.stack.kernel, plan.stack.user)

        def open_ring(cpu: int, pages: int, watermark: int) -> SampleRing:
            attr = sample_attr(plan.origin, shape, watermark=watermark, depth=depth)
            ring = SampleRing(cpu, pages, attr, shape, self._samples.sample_bytes)
            with contextlib.ExitStack() as undo:
                undo.callback(ring.close)
                for counter in plan.group:
                    ring.add_counter(counter_attr(counter, shape))
                undo.pop_all()
            return ring

        try:
            cpus = plan.scope.cpus or online_cpus()
            self.rings, self.pages = open_rings(cpus, options, open_ring)
        except OSError as error:
            raise explain_refusal(plan.format.name, plan.origin, error, shape.sample_type) from None
        for ring in self.rings:
            self._open.callback(ring.close)

    def _attach(self, compiled: BpfObject, tracefs: Tracefs) -> None:
        for name, spec in compiled.maps.items():
            self._maps[name] = Map(name, spec)
            self._resources.callback(self._maps[name].close)
        self._run_time = RunTime(self._maps["costs"].mapped(), possible_cpus())
        if self.plan.payer is not None:
            self._credit = Credit(self._maps, 1)
        descriptors = {name: map_.fd for name, map_ in self._maps.items()}
        loaded = {}
        for name, code in compiled.programs.items():
            kind = bpf_maps.PROG_PERF_EVENT if name == PROGRAM else bpf_maps.PROG_TRACEPOINT
            instructions = code.linked(descriptors, self.plan.scope.owner)
            loaded[name] = bpf_maps.load_program(kind, name, instructions)
            self._resources.callback(os.close, loaded[name])
        if self.plan.scope.has_tasks:
            # First those that follow children: none may slip through in between.
            for name, format in followers(tracefs):
                self._resources.callback(os.close, hang(loaded[name], format))
        fill_scope(self.plan.scope, self._maps)
        for ring in self.rings:
            ring.filter_by(loaded[PROGRAM])
