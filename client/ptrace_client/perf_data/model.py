"""What readers of a recording get: its events, and its records in perf's order.

Units are those of the file: ns, bytes, pages as named. Whoever reads a recording walks over
Recording.records(); the rest of the client knows recordings by this module alone.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from mmap import mmap
from typing import NamedTuple, Protocol, TypeAlias

from ptrace_client.perf_data.attr import EventAttr, EventKind
from ptrace_formats.event_format import EventFormat

# What records lie in. Slices of either are bytes, and struct's unpack_from() reads both.
Buffer: TypeAlias = bytes | mmap
# Takes a sample: (data, start, end, misc, time). `start` and `end` are the record's place in
# `data`, its header included; `time` is -1 where the sample has none.
Sink: TypeAlias = Callable[[Buffer, int, int, int, int], None]


class RecordKind(enum.IntEnum):
    """enum perf_event_type, and perf's own types (tools/lib/perf/include/perf/event.h)."""

    MMAP = 1
    LOST = 2
    COMM = 3
    EXIT = 4
    THROTTLE = 5
    UNTHROTTLE = 6
    FORK = 7
    READ = 8
    SAMPLE = 9
    MMAP2 = 10
    AUX = 11
    ITRACE_START = 12
    LOST_SAMPLES = 13
    SWITCH = 14
    SWITCH_CPU_WIDE = 15
    NAMESPACES = 16
    KSYMBOL = 17
    BPF_EVENT = 18
    CGROUP = 19
    TEXT_POKE = 20
    AUX_OUTPUT_HW_ID = 21
    HEADER_ATTR = 64
    HEADER_EVENT_TYPE = 65
    HEADER_TRACING_DATA = 66
    HEADER_BUILD_ID = 67
    FINISHED_ROUND = 68
    ID_INDEX = 69
    AUXTRACE_INFO = 70
    AUXTRACE = 71
    AUXTRACE_ERROR = 72
    THREAD_MAP = 73
    CPU_MAP = 74
    STAT_CONFIG = 75
    STAT = 76
    STAT_ROUND = 77
    EVENT_UPDATE = 78
    TIME_CONV = 79
    HEADER_FEATURE = 80
    COMPRESSED = 81
    FINISHED_INIT = 82


class CpuMode(enum.IntEnum):
    """The low bits of a record's misc (PERF_RECORD_MISC_CPUMODE_MASK)."""

    UNKNOWN = 0
    KERNEL = 1
    USER = 2
    HYPERVISOR = 3
    GUEST_KERNEL = 4
    GUEST_USER = 5


class ReadValue(NamedTuple):
    """One counter of PERF_SAMPLE_READ; `lost` is None where read_format has no LOST."""

    id: int
    value: int
    lost: int | None


class BranchEntry(NamedTuple):
    """One entry of a branch stack; `flags` as the kernel packs them."""

    source: int
    target: int
    flags: int


@dataclass(slots=True)
class Sample:
    """A sample taken apart; members that its sample_type lacks have perf's defaults."""

    event: RecordedEvent
    misc: int
    ip: int = 0
    pid: int = (1 << 32) - 1
    tid: int = (1 << 32) - 1
    time: int = (1 << 64) - 1
    addr: int = 0
    id: int = (1 << 64) - 1
    stream_id: int = (1 << 64) - 1
    cpu: int = (1 << 32) - 1
    period: int = 0
    values: tuple[ReadValue, ...] = ()
    time_enabled: int = 0
    time_running: int = 0
    # As recorded: leaf first, with context markers (PERF_CONTEXT_*).
    callchain: tuple[int, ...] = ()
    raw: bytes = b""
    branches: tuple[BranchEntry, ...] = ()
    # (abi, values by bit of sample_regs_user); None where not sampled.
    user_regs: tuple[int, tuple[int, ...]] | None = None
    user_stack: bytes = b""
    weight: int = 0
    ins_lat: int = 0
    data_src: int | None = None
    transaction: int = 0
    intr_regs: tuple[int, tuple[int, ...]] | None = None
    phys_addr: int = 0
    cgroup: int = 0
    data_page_size: int = 0
    code_page_size: int = 0
    aux: bytes = b""

    @property
    def cpumode(self) -> int:
        """CpuMode."""
        return self.misc & 7


class SampleLayout(Protocol):
    """How the samples of an event are laid out; from sample_layout.py."""

    # Members that every sample has at the same place: name as in Sample, offset from the start
    # of the record, struct code with its byte order's prefix ("<Q").
    fixed: tuple[tuple[str, int, str], ...]
    # Where the u32 with the size of PERF_SAMPLE_RAW's content lies, from the start of the record;
    # the content follows. -1 where there is none, or where the place is another in each sample.
    raw_place: int

    def raw(self, data: Buffer, start: int, end: int) -> tuple[int, int]:
        """Return (offset in `data`, size) of PERF_SAMPLE_RAW's content; (0, 0) without it."""

    def sample(self, data: Buffer, start: int, end: int, misc: int) -> Sample:
        """Take the record apart. Raise ClientError where it is damaged."""


@dataclass(eq=False)
class RecordedEvent:
    """An event of a recording (perf calls it an evsel)."""

    index: int
    # As perf shows it: "sched:sched_wakeup", "cpu-clock:u".
    name: str
    attr: EventAttr
    ids: tuple[int, ...]
    layout: SampleLayout
    # Of tracepoints whose format is in the recording.
    format: EventFormat | None = None
    # For recordings of `perf stat`.
    unit: str = ""
    scale: float = 1.0
    # Where its samples go; set by who reads the recording.
    sink: Sink | None = field(default=None, repr=False)

    @property
    def is_tracepoint(self) -> bool:
        """Whether its samples' raw data is a record of the kernel's tracing."""
        return self.attr.type == EventKind.TRACEPOINT


class SampleId(NamedTuple):
    """What a record other than a sample says of its origin; perf's defaults where it does not."""

    pid: int = (1 << 32) - 1
    tid: int = (1 << 32) - 1
    time: int = (1 << 64) - 1
    id: int = (1 << 64) - 1
    stream_id: int = (1 << 64) - 1
    cpu: int = (1 << 32) - 1


class Record(NamedTuple):
    """A record in its place: `event` is None for all but samples, `time` -1 where it has none.

    `kind` is a number since files may hold kinds that nobody knows.
    """

    event: RecordedEvent | None
    kind: int
    misc: int
    data: Buffer
    start: int
    end: int
    time: int


@dataclass
class Features:
    """What perf noted of the host and of itself (feature sections); None or empty where not."""

    hostname: str | None = None
    os_release: str | None = None
    version: str | None = None
    # As uname(2) gives it, "x86_64".
    arch: str | None = None
    cpus_online: int | None = None
    cpus_available: int | None = None
    cpu_description: str | None = None
    cpuid: str | None = None
    total_memory: int | None = None
    command_line: list[str] = field(default_factory=list)
    # By the path that mappings name: build id.
    build_ids: dict[str, bytes] = field(default_factory=dict)
    # First and last time of samples, ns.
    sample_time: tuple[int, int] | None = None
    # (clockid, time of day in ns, time of clockid in ns).
    clock_data: tuple[int, int, int] | None = None
    # All others by their bit's number, not taken apart.
    other: dict[int, bytes] = field(default_factory=dict)


@dataclass
class TracingData:
    """What perf copied of tracefs."""

    big_endian: bool
    long_size: int
    page_size: int
    # By the id that records carry as common_type.
    formats: dict[int, EventFormat] = field(default_factory=dict)
    # The texts of `format` files that could not be read, by (system, position).
    damaged: list[tuple[str, str]] = field(default_factory=list)
    kallsyms: bytes = b""
    printk_formats: bytes = b""
    # saved_cmdlines: pid to name.
    commands: dict[int, str] = field(default_factory=dict)


class Recording(Protocol):
    """An open perf.data file or pipe; from recording.open_recording()."""

    path: str
    big_endian: bool
    is_pipe: bool
    # What the user should know of the recording, a sentence each; more may come while reading.
    notes: list[str]

    @property
    def events(self) -> list[RecordedEvent]:
        """The events, in the order in which the recording declares them."""

    @property
    def features(self) -> Features:
        """What perf noted of the host and of itself."""

    @property
    def tracing(self) -> TracingData | None:
        """What perf copied of tracefs; None where nothing."""

    def records(self) -> Iterator[Record]:
        """Yield the records in the order in which perf would process them.

        Samples come with their event; one of an unknown id is counted and left out. Events that
        a pipe declares later are in `events` before their first sample. What only declares
        (attrs, features, names) or ends a round is taken in and not yielded, and so are records
        that hold compressed ones. Raise ClientError for what is damaged, saying where, behind
        all that came before it. A pipe can be read once only.
        """

    def batches(self) -> Iterator[Sequence[Record]]:
        """Yield what records() yields in portions, which is cheaper."""

    def sample_id(self, record: Record) -> SampleId:
        """Return the trailer of a record that is no sample, for kinds below HEADER_ATTR."""

    def event_of(self, id: int) -> RecordedEvent | None:
        """Return the event that has an id."""

    def close(self) -> None:
        """Close the file."""
