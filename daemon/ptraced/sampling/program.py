"""The C module of a source of samples: a program that says which of them count."""

from __future__ import annotations

import platform
from dataclasses import replace

from ptraced import filter_c
from ptraced.origin import Sampled
from ptraced.own_scope import HARD_INTERRUPT, NMI
from ptraced.program import cost_text, fill, rate_text, scope_text, template
from ptraced.sampling import counters
from ptraced.sampling.filters import FILTER_WORDS, filter_format
from ptraced.sampling.plan import SamplingPlan
from ptraced.scope import Scope
from ptraced.tracefs import Tracefs

PROGRAM = "keep_sample"


def sample_text(plan: SamplingPlan, tracefs: Tracefs) -> str | None:
    """C for BCC, or None where all samples of the plan's CPUs count."""
    # The event has a ring on the CPUs of the scope only.
    scope = replace(plan.scope, cpus=(), identity=())
    if plan.filter is None and scope == Scope() and plan.payer is None:
        return None
    if plan.filter is None:
        filter_text = "static __always_inline bool filter_0(void *ctx) { return true; }"
    else:
        filter_text = filter_c.emit(plan.filter, filter_format(plan.format.name), "filter_0")
    return "\n".join(
        [
            scope_text(scope, tracefs, _own_interrupt(plan.origin)),
            template("filter.h"),
            filter_text,
            cost_text(),
            rate_text(1, plan.payer),
            fill(
                "sample.c",
                PROGRAM=PROGRAM,
                WORDS=FILTER_WORDS,
                LIMITED=int(plan.payer is not None),
            ),
        ]
    )


def _own_interrupt(origin: Sampled) -> int:
    """What of preempt_count is the doing of the event itself, where a task is sampled.

    Timers of perf fire in hard interrupts. PMUs come by NMI on x86, elsewhere by what the
    machine has. A breakpoint in the kernel is handled as an NMI on x86. All else happens in the
    task itself.
    """
    if origin.type == counters.SOFTWARE:
        return HARD_INTERRUPT if origin.counter in counters.CLOCKS else 0
    if origin.type == counters.BREAKPOINT or platform.machine() == "x86_64":
        return NMI
    return HARD_INTERRUPT
