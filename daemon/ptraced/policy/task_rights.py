"""What a session may tell of tasks: of whose, and whether of their memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ptraced.identity import Caller
from ptraced.policy.exposure import Exposure
from ptraced.policy.grant import StackParts
from ptraced.policy.proc_view import shows_others


@dataclass(frozen=True, slots=True)
class TaskRights:
    """What a session may tell of tasks.

    `everyone`: of all tasks. `memory`: where they map files, too, as their stacks tell it anyway.
    `own` are the schemas whose events are of the caller's own tasks alone.
    """

    caller: Caller
    everyone: bool
    memory: bool
    own: frozenset[int]


def task_rights(caller: Caller, exposures: Sequence[Exposure]) -> TaskRights:
    """The rights of a session with events of these exposures, in the order of their schemas.

    Of all tasks only where all of the events are, and where /proc tells of them, too.
    """
    own = frozenset(
        number for number, exposure in enumerate(exposures, 1) if exposure.owner is not None
    )
    everyone = not own and shows_others(caller)
    shown = (StackParts.USER, StackParts.ALL)
    memory = everyone and all(exposure.rule.stacks in shown for exposure in exposures)
    return TaskRights(caller, everyone, memory, own)
