"""The C module of a source of samples: a program that says which of them count."""

from __future__ import annotations

from dataclasses import replace

from ptraced import filter_c
from ptraced.program import fill, scope_text, template
from ptraced.sampling.filters import FILTER_WORDS, filter_format
from ptraced.sampling.plan import SamplingPlan
from ptraced.tracefs import Tracefs

PROGRAM = "keep_sample"


def sample_text(plan: SamplingPlan, tracefs: Tracefs) -> str | None:
    """C for BCC, or None where all samples of the plan's CPUs count."""
    # The event has a ring on the CPUs of the scope only.
    scope = replace(plan.scope, cpus=())
    if plan.filter is None and not scope.has_tasks and not scope.cgroups:
        return None
    if plan.filter is None:
        filter_text = "static __always_inline bool filter_0(void *ctx) { return true; }"
    else:
        filter_text = filter_c.emit(plan.filter, filter_format(plan.format.name), "filter_0")
    return "\n".join(
        [
            scope_text(scope, tracefs),
            template("filter.h"),
            filter_text,
            fill("sample.c", PROGRAM=PROGRAM, WORDS=FILTER_WORDS),
        ]
    )
