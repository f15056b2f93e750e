"""Which stacks of events are captured, and how deep: asked for, possible, and granted."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ptrace_proto import ptrace_pb2 as pb
from ptraced.errors import LimitExceeded, TraceError
from ptraced.policy.grant import StackParts
from ptraced.policy.selection import stack_parts
from ptraced.program import STACK_DEPTH_MAX, StackDepth
from ptraced.selector import SelectedEvent


def stack_depth(
    stacks: pb.Stacks,
    event: SelectedEvent,
    granted: StackParts = StackParts.ALL,
    allowed: int | None = None,
) -> StackDepth | None:
    """What is captured of an event's stack; None where it has none.

    `granted` parts at most, and `allowed` frames. Raises TraceError for more frames than are
    possible, LimitExceeded for more than are allowed, PermissionRefused for parts not granted.
    """
    if not (stacks.kernel or stacks.user or event.stack):
        return None
    most = _limit()
    if stacks.max_depth > most:
        raise TraceError(
            f"error: stacks of {stacks.max_depth} frames: at most {most} are possible "
            "(sysctl kernel.perf_event_max_stack)"
        )
    asked = event.max_stack or stacks.max_depth
    if allowed is not None:
        if asked > allowed:
            raise LimitExceeded(
                f"error: stacks of {asked} frames are over your limit of {allowed} frames; "
                "ask for fewer"
            )
        most = min(most, allowed)
    depth = min(asked or most, most)
    kernel, user = stack_parts(event, granted, *_asked_parts(stacks, event))
    return StackDepth(depth if kernel else 0, depth if user else 0)


def _asked_parts(stacks: pb.Stacks, event: SelectedEvent) -> tuple[bool, bool]:
    """Which parts of an event's stacks are asked for, the kernel's and the user's."""
    both = not (stacks.kernel or stacks.user)
    return event.options.parts(
        stacks.kernel or (both and not stacks.no_kernel),
        stacks.user or (both and not stacks.no_user),
    )


def _limit() -> int:
    """Frames of either part of a stack at most: what fits, and what the kernel is set to."""
    setting = int(Path("/proc/sys/kernel/perf_event_max_stack").read_text())
    return min(STACK_DEPTH_MAX, setting)


def stack_warnings(
    stacks: pb.Stacks, events: Sequence[SelectedEvent], depths: Sequence[StackDepth | None]
) -> list[str]:
    """What users should know of the parts of stacks that they asked for and do not get."""
    kernel, user = False, False
    for event, depth in zip(events, depths, strict=True):
        if depth is not None:
            asked = _asked_parts(stacks, event)
            kernel = kernel or (asked[0] and not depth.kernel)
            user = user or (asked[1] and not depth.user)
    parts = [part for part, missing in (("kernel", kernel), ("user", user)) if missing]
    return [f"{part} stacks are left out where the policy shows you none" for part in parts]
