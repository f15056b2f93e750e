"""Losses: counted by stage, told to the script, and to the user once in a while."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from ptrace_client.printing import terminal_safe
from ptrace_proto import ptrace_pb2 as pb

# Seconds.
_REPORT_INTERVAL: Final = 1.0
_S: Final = 1_000_000_000
_STAGE_NAMES: Final[dict[int, str]] = {
    pb.LOSS_STAGE_KERNEL_BUFFER: "kernel buffer full",
    pb.LOSS_STAGE_QUEUE: "client too slow",
    pb.LOSS_STAGE_SKIPPED: "skipped by the kernel, at most",
    pb.LOSS_STAGE_THROTTLED: "throttled",
}


@dataclass
class Gap:
    """Events lost on one CPU: how many, within which time range, ns."""

    count: int = 0
    start: int = 0
    end: int = 0

    def add(self, loss: pb.Loss) -> None:
        """Widen the gap by another loss."""
        self.start = min(self.start, loss.start_time) if self.count else loss.start_time
        self.end = max(self.end, loss.end_time)
        self.count += loss.count


class Losses:
    """The losses of one run."""

    def __init__(self, quiet: bool, clock: Callable[[], float] = time.monotonic) -> None:
        self.by_stage: Counter[int] = Counter()
        self._quiet = quiet
        self._clock = clock
        self._gaps: dict[tuple[int, int], Gap] = {}
        self._unreported = 0
        self._reported_at: float | None = None
        # When a throttling began that the user was told of, and of the last one; ns.
        self._throttled_since: int | None = None
        self._throttle_told_at: int | None = None

    @property
    def total(self) -> int:
        """Events lost, count; those the kernel skipped are only estimated and not in here."""
        return sum(self.by_stage.values()) - self.by_stage[pb.LOSS_STAGE_SKIPPED]

    def add(self, loss: pb.Loss) -> bool:
        """Count a loss; return whether the script is to be told."""
        self.by_stage[loss.stage] += loss.count
        if loss.stage == pb.LOSS_STAGE_SKIPPED:
            return False
        self._gaps.setdefault((loss.schema_id, loss.cpu), Gap()).add(loss)
        self._unreported += loss.count
        now = self._clock()
        if self._reported_at is None or now - self._reported_at >= _REPORT_INTERVAL:
            self._reported_at = now
            self.report()
        return True

    def report(self) -> None:
        """Tell the user of what was lost since the last report, if anything was."""
        if self._unreported and not self._quiet:
            count = f"{self._unreported} event{'s' * (self._unreported != 1)}"
            print(f"ptrace-client: lost {count} ({self.total} in all)", file=sys.stderr)
        self._unreported = 0

    def throttle(self, throttle: pb.Throttle) -> None:
        """Tell the user that the daemon stops to take events, or goes on.

        Of throttlings in quick succession only the first is told; their losses are counted.
        """
        if self._quiet:
            return
        if throttle.started:
            last = self._throttle_told_at
            if last is None or throttle.time - last >= _REPORT_INTERVAL * _S:
                self._throttled_since = self._throttle_told_at = throttle.time
                reason = terminal_safe(throttle.reason)
                print(f"ptrace-client: throttled: {reason}", file=sys.stderr)
        elif self._throttled_since is not None:
            ms = (throttle.time - self._throttled_since) // 1_000_000
            print(f"ptrace-client: no longer throttled, after {ms} ms", file=sys.stderr)
            self._throttled_since = None

    def take_gap(self, schema_id: int, cpu: int) -> Gap:
        """Return what an event lost on a CPU since this was last asked."""
        return self._gaps.pop((schema_id, cpu), None) or Gap()

    def summary(self) -> str:
        """Return "lost 7 (kernel buffer full: 4, client too slow: 3)"."""
        stages = ", ".join(
            f"{_STAGE_NAMES.get(stage, 'unknown stage')}: {count}"
            for stage, count in sorted(self.by_stage.items())
            if count
        )
        return f"lost {self.total}" + (f" ({stages})" if stages else "")
