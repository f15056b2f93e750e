"""Events of a stream on their way to a handler in perf's dialect."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import repeat
from operator import add
from typing import Any

from ptrace_client.decode import RowData, RowLayout
from ptrace_client.errors import ClientError
from ptrace_client.event_fields import is_sample
from ptrace_client.order import MIXED
from ptrace_client.perf_live.calls import Call
from ptrace_client.perf_live.handlers import Handlers, Use, candidates
from ptrace_client.perf_live.values import CPU
from ptrace_client.stacks import StackTable
from ptrace_client.targets import Fused, Rows
from ptrace_proto import ptrace_pb2 as pb

Row = tuple[Any, ...]


class RowTarget:
    """A targets.Target whose items are rows.

    perf looks a handler up for every event. Here that is done for every row too, but where the
    handler's body is in the loop: there for each call of fused().
    """

    def __init__(
        self,
        handlers: Handlers,
        schema: pb.EventSchema,
        use: Use,
        stacks: StackTable,
        *,
        timed: bool,
    ) -> None:
        self.warnings = [use.warning] if use.warning else []
        self._handlers = handlers
        self._schema = schema
        self._stacks = stacks
        self._candidates = candidates(schema)
        self._values = use.values
        self._columns = use.columns
        wanted = use.columns | ({"_time"} if timed else frozenset())
        self._layout = RowLayout(schema, wanted, use.values.codes)
        # The script knows of the event's flags and symbols.
        self._defined = is_sample(schema)
        self._take(use)

    def fused(self, rows: Rows, cpu: int) -> None:
        """Handle rows of a CPU, or of several if it is MIXED."""
        self._begin()
        if cpu == MIXED:
            self._mixed(rows, cpu)
        else:
            self._loop(rows, cpu)

    def rows(self, batch: pb.Batch | RowData) -> Rows:
        """Iterate over a batch's rows, see targets.Target."""
        rows, place = self._layout.rows(batch), self._layout.stack_index
        return rows if place is None else self._stacks.resolved(rows, place)

    def mixed(self, cpu: int, rows: Rows) -> Iterable[Row]:
        """Return the rows of a CPU as fused() takes them among those of others."""
        return map(add, rows, repeat((cpu,))) if CPU in self._columns else rows

    def items(self, cpu: int, rows: Rows) -> Iterator[Row]:
        """Return the rows: they are the items."""
        return rows

    def call(self, cpu: int) -> Callable[[Row], None]:
        """Return what handles a row of a CPU."""
        known = self._singles.get(cpu)
        if known is None:
            known = self._singles[cpu] = self._single(cpu)
        return known

    def _single(self, cpu: int) -> Callable[[Row], None]:
        if self._defined:
            if self._call is None:
                return lambda row: None
            return self._call.single(self._handlers.script.namespace, self._again, cpu)
        return lambda row: self._again(row, cpu)

    def _begin(self) -> None:
        if not self._defined:
            self._defined = True
            self._singles.clear()
            self._handlers.define(self._values.format, self._schema)
        elif self._handlers.chosen_of(self._candidates) != self._chosen:
            self._renew()

    def _again(self, row: Row, cpu: int) -> None:
        """Handle the first row, or one for which the script has another handler by now."""
        self._begin()
        self.call(cpu)(row)

    def _renew(self) -> None:
        """Go on with the handler that the script has now."""
        use = self._handlers.use(self._schema, self._values)
        missing = sorted(use.columns - self._columns) if use is not None else []
        if use is not None and missing:
            raise ClientError(
                f"{self._handlers.script.path} has put another function in place of {use.name}, "
                f"which reads {missing[0]}, which was not asked for: run with --all-fields",
                1,
            )
        self._take(use)

    def _take(self, use: Use | None) -> None:
        self._chosen = self._handlers.chosen_of(self._candidates)
        self._singles: dict[int, Callable[[Row], None]] = {}
        self._call: Call | None = None
        self._loop: Fused = _ignore
        self._mixed: Fused = _ignore
        if use is None:
            return
        call = self._call = Call(use.name, use.handler, use.arguments, use.values, self._layout)
        has_cpu = CPU in self._columns
        self._loop = self._looped(call, use, mixed=False)
        self._mixed = self._looped(call, use, mixed=True) if has_cpu else self._loop

    def _looped(self, call: Call, use: Use, *, mixed: bool) -> Fused:
        fused = call.fused(use.known, mixed=mixed) if use.known is not None else None
        if fused is not None:
            return fused
        again = self._again_mixed if mixed else self._again
        return call.looped(self._handlers.script.namespace, again, mixed=mixed)

    def _again_mixed(self, row: Row, cpu: int) -> None:
        self._again(row[:-1], cpu)


def _ignore(rows: Rows, cpu: int) -> None:
    """Take the rows of an event whose handler the script has removed."""
    for _ in rows:
        pass
