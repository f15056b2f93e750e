"""Classes of sampled events, told apart by the size of their raw bytes."""

from __future__ import annotations as _annotations

import struct

EVTYPE_GENERIC = 0
EVTYPE_PEBS = 1
# PEBS with the latency of a load.
EVTYPE_PEBS_LL = 2
EVTYPE_IBS = 3


class PerfEvent:
    """A sample of no particular kind; `event_num` counts the samples of all kinds."""

    event_num = 0

    def __init__(
        self,
        name: str,
        comm: str,
        dso: str,
        symbol: str,
        raw_buf: bytes,
        ev_type: int = EVTYPE_GENERIC,
    ) -> None:
        self.name = name
        self.comm = comm
        self.dso = dso
        self.symbol = symbol
        self.raw_buf = raw_buf
        self.ev_type = ev_type
        PerfEvent.event_num += 1

    def show(self) -> None:
        """Print a line with the names."""
        print(
            f"PMU event: name={self.name:>12}, symbol={self.symbol:>24}, "
            f"comm={self.comm:>8}, dso={self.dso:>12}"
        )


class PebsEvent(PerfEvent):
    """A sample of Intel's PEBS: flags, address and registers at the time of the event.

    Raise struct.error where `raw_buf` has fewer than 80 bytes.
    """

    pebs_num = 0

    def __init__(
        self,
        name: str,
        comm: str,
        dso: str,
        symbol: str,
        raw_buf: bytes,
        ev_type: int = EVTYPE_PEBS,
    ) -> None:
        registers = struct.unpack("10Q", raw_buf[:80])
        self.flags, self.ip, self.ax, self.bx, self.cx = registers[:5]
        self.dx, self.si, self.di, self.bp, self.sp = registers[5:]
        super().__init__(name, comm, dso, symbol, raw_buf, ev_type)
        PebsEvent.pebs_num += 1


class PebsNHM(PebsEvent):
    """A sample of PEBS since Nehalem: with status, address, source and latency of a load."""

    pebs_nhm_num = 0

    def __init__(
        self,
        name: str,
        comm: str,
        dso: str,
        symbol: str,
        raw_buf: bytes,
        ev_type: int = EVTYPE_PEBS_LL,
    ) -> None:
        self.status, self.dla, self.dse, self.lat = struct.unpack("4Q", raw_buf[144:176])
        super().__init__(name, comm, dso, symbol, raw_buf, ev_type)
        PebsNHM.pebs_nhm_num += 1


# By the size of their records, the only mark they have.
_KINDS: dict[int, type[PerfEvent]] = {144: PebsEvent, 176: PebsNHM}


def create_event(name: str, comm: str, dso: str, symbol: str, raw_buf: bytes) -> PerfEvent:
    """Return the sample as an object of the class that its raw bytes belong to."""
    return _KINDS.get(len(raw_buf), PerfEvent)(name, comm, dso, symbol, raw_buf)
