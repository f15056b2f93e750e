"""Where the events of a schema go: what a dispatcher needs to know of a dialect."""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol

from ptrace_client.decode import RowData
from ptrace_client.script_errors import ScriptErrors
from ptrace_client.stacks import StackTable
from ptrace_proto import ptrace_pb2 as pb

Callback = Callable[..., Any]
Rows = Iterator[tuple[Any, ...]]
# Takes rows, to their end or until an exception, and the number of the CPU that they are from.
Fused = Callable[[Rows, int], None]


class Ordering(enum.Enum):
    """How the events of one schema can be put in the order of time."""

    # It makes no difference: nobody can tell them apart.
    NONE = enum.auto()
    # As rows, before there is an item: `Target.fused` takes rows of several CPUs.
    ROWS = enum.auto()
    EVENTS = enum.auto()


class Target(Protocol):
    """The events of one schema on their way to a handler."""

    @property
    def warnings(self) -> list[str]:
        """Sentences for the user about the events."""

    @property
    def fused(self) -> Fused | None:
        """What handles rows without an item and a call for each; None where that cannot be."""

    def rows(self, batch: pb.Batch | RowData) -> Rows:
        """Iterate over a batch's rows; operator.length_hint() tells how many are left.

        The first column is the time wherever rows are put in order. Raise ClientError where the
        batch is damaged.
        """

    def mixed(self, cpu: int, rows: Rows) -> Iterable[tuple[Any, ...]]:
        """Return the rows of a CPU as `fused` takes them among those of others, with order.MIXED
        for a CPU, where Binding.ordering is ROWS."""

    def items(self, cpu: int, rows: Rows) -> Iterator[Any]:
        """Make what call() takes of each row as it is asked for, never ahead."""

    def call(self, cpu: int) -> Callback:
        """Return what handles one item of a CPU."""


class Binding(Protocol):
    """The handler of one event."""

    @property
    def schema(self) -> pb.EventSchema:
        """The event."""

    @property
    def handler(self) -> Callback:
        """What the script has for it."""

    @property
    def is_batch(self) -> bool:
        """Whether it takes batches as NumPy arrays, see batch.py, instead of events."""

    @property
    def ordering(self) -> Ordering:
        """How its events can be put in order."""

    def target(self, realtime_offset: int, stacks: StackTable, *, timed: bool) -> Target:
        """Return where the events go; `timed` says that they will be put in order.

        `realtime_offset` is that of pb.Started, ns; `stacks` has the stacks that rows refer to.
        """


class RunScript(Protocol):
    """A loaded script of any dialect, as a run drives it. Callbacks are None where it has none."""

    @property
    def path(self) -> str:
        """Path of the file, absolute; the module's name where it has none."""

    @property
    def announced(self) -> bool:
        """Whether the user is told that it was loaded, on stdout."""

    @property
    def orders_always(self) -> bool:
        """Whether one event alone is put in order of time, too."""

    @property
    def init(self) -> Callback | None:
        """Called without arguments before tracing starts."""

    @property
    def exit(self) -> Callback | None:
        """Called without arguments after the last event."""

    @property
    def interval(self) -> Callback | None:
        """Called without arguments every -i milliseconds."""

    @property
    def print_stat(self) -> Callback | None:
        """Called with an indentation, to print its state."""

    @property
    def lost(self) -> Callback | None:
        """Called with (start, end), ns, where events were lost."""

    @property
    def reconnected(self) -> Callback | None:
        """Called with (start, end), ns, of what was missed."""

    @property
    def throttled(self) -> Callback | None:
        """Called with (started, time): the daemon stops to take events, or goes on."""

    def errors(self, strict: bool) -> ScriptErrors:
        """Return what becomes of the exceptions of a run."""

    def projections(
        self, described: Sequence[pb.EventSchema], all_fields: bool
    ) -> list[pb.Projection]:
        """Return the fields to ask for. Raise ClientError where there is nothing to call."""

    def bind(self, schemas: Sequence[pb.EventSchema], all_fields: bool) -> Sequence[Binding]:
        """Return a binding for every event that something is called for."""

    def warnings(self, schemas: Sequence[pb.EventSchema]) -> list[str]:
        """Return sentences about what will not be called, or not be delivered."""
