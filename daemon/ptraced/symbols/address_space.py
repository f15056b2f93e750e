"""What was mapped where in a process, and when."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from ptraced.symbols.jit import JitMap

# Mappings that an address space keeps; vm.max_map_count is 65530 by default, but those that
# are executable are few.
_MAPPINGS_MAX = 4096
# A mapping that another one has taken the place of is dropped when it is so old: stacks do
# not arrive later. ns.
_OUTDATED = 10_000_000_000
_FRAMES_MAX = 20_000


@dataclass(eq=False, slots=True, weakref_slot=True)
class MappedFile:
    """A file as mappings tell of it: by build id, or by device and inode.

    Mappings of the same file share one of these. `key` names its content once it was found,
    and `retry_at` is when it is looked for again where it was not (time.monotonic()). Both are
    true of the process `found_by`, None for all: what is at a path, and a build id, are what
    anybody likes.
    """

    path: str
    build_id: bytes | None
    identity: tuple[int, int] | None
    key: tuple[object, ...] | None = None
    found_by: int | None = None
    retry_at: float = 0.0
    failures: int = 0


class Mapping(NamedTuple):
    """Executable memory [start, end) from `offset` in a file on, since `time` (ns).

    With `snapshot` it was seen at that time and had been there for longer.
    """

    start: int
    end: int
    offset: int
    file: MappedFile
    time: int
    snapshot: bool = False


@dataclass(eq=False, slots=True, weakref_slot=True)
class AddressSpace:
    """The memory of a process from `start` on, when it began to run a program or was forked.

    A child has what its parent had, so it keeps only what is new: `parent` is the parent's
    memory at `forked_at`. `complete` tells that its mappings are known from the start, and
    `losses` how often records had been lost by then.
    """

    pid: int
    start: int
    complete: bool
    parent: AddressSpace | None = None
    forked_at: int = 0
    mappings: list[Mapping] = field(default_factory=list)
    # Time of the last change, and encoded frames by address, valid since then.
    newest: int = 0
    frames: dict[int, bytes] = field(default_factory=dict)
    losses: int = 0
    # When it was last tried to compare it with /proc, time.monotonic().
    tried_at: float = float("-inf")
    # Whose the process was whenever it was looked at: it may have begun to run something else, as
    # a set-uid program, or have ended, and records that tell so may be late.
    owners: set[int] = field(default_factory=set)
    jit: JitMap | None = None
    # The interpreter that a stack had to do with, when that was first, and whether it has
    # been looked into.
    python: str = ""
    python_since: int = 0
    python_done: bool = False
    _compact_at: int = 64

    def add(self, mapping: Mapping) -> int:
        """Note a mapping; returns by how much their number grew."""
        before = len(self.mappings)
        self.mappings.append(mapping)
        self.newest = max(self.newest, 0 if mapping.snapshot else mapping.time)
        self.frames.clear()
        if len(self.mappings) > self._compact_at:
            self._compact()
        return len(self.mappings) - before

    def find(self, address: int, time: int) -> Mapping | None:
        """The mapping that an address was in at a time."""
        space: AddressSpace | None = self
        while space is not None:
            found = space.own(address, time)
            if found is not None:
                return found
            time = min(time, space.forked_at)
            space = space.parent
        return None

    def own(self, address: int, time: int) -> Mapping | None:
        """The same, without what came from the parent."""
        before: Mapping | None = None
        later: Mapping | None = None
        for mapping in self.mappings:
            if mapping.start <= address < mapping.end:
                if mapping.time <= time:
                    if before is None or mapping.time >= before.time:
                        before = mapping
                elif mapping.snapshot and (later is None or mapping.time < later.time):
                    later = mapping
        return before or later

    def is_shown_to(self, owner: int | None) -> bool:
        """Whether nothing is known of it that was seen while it was another's; None: no matter."""
        space: AddressSpace | None = self
        while space is not None and owner is not None:
            if not space.owners <= {owner}:
                return False
            space = space.parent
        return True

    def remember(self, key: int, frame: bytes) -> None:
        """Keep a frame for stacks that are not older than the last change."""
        if len(self.frames) >= _FRAMES_MAX:
            self.frames.clear()
        self.frames[key] = frame

    def split(self, later: AddressSpace) -> None:
        """Give a space that began later, as it turns out now, the mappings made since then."""
        for mapping in [m for m in self.mappings if m.time >= later.start]:
            self.mappings.remove(mapping)
            later.add(mapping)
        self.frames.clear()

    def _compact(self) -> None:
        """Drop what was replaced by a mapping of the same place long ago."""
        current = max(mapping.time for mapping in self.mappings)
        newest = {(m.start, m.end): m for m in sorted(self.mappings, key=lambda m: m.time)}
        self.mappings = [
            mapping
            for mapping in self.mappings
            if mapping.time > current - _OUTDATED or newest[mapping.start, mapping.end] is mapping
        ]
        if len(self.mappings) > _MAPPINGS_MAX // 2:
            del self.mappings[: -_MAPPINGS_MAX // 2]
        self._compact_at = max(64, 2 * len(self.mappings))
