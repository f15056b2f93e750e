"""Stacks by their content: each distinct one has a number, and its frames are found once."""

from __future__ import annotations

import itertools
import struct
import threading
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

from ptraced.quotas.stack_rates import StackRates
from ptraced.symbols.frames import unresolved_stack

# Stacks that are kept, with their frames, and the bytes of both.
_KEPT_STACKS = 1 << 16
_KEPT_BYTES = 128 << 20
# What a stack takes besides its addresses and frames, and a frame while it is not known.
_STACK_BYTES, _FRAME_BYTES = 512, 128
# Processes whose time of change is kept.
_KEPT_CHANGES = 1 << 16
# Numbers are u32 in rows.
_NUMBER_MAX = (1 << 32) - 1
_KEPT_PYTHONS = 4096
_NO_ADDRESS = bytes(8)
# What stands before the addresses of a stack: process (0 without a user part), then bytes of
# the kernel's part and of the user's.
HEAD = struct.Struct("<IHH")
# What stands behind them where the stack is of tasks of one user alone: its uid.
_OWNER = struct.Struct("<I")


class Frames(Protocol):
    """Finds the frames of stacks, see symbols/symbolizer.py."""

    def stack(
        self,
        stack_id: int,
        tgid: int,
        time: int,
        kernel: bytes,
        user: bytes,
        uid: int,
        owner: int | None,
    ) -> None: ...


@dataclass(slots=True, eq=False)
class Stack:
    """A stack and, once they are found, its frames: a serialized pb.Stack."""

    id: int
    key: bytes
    data: bytes | None = None
    # Whether the table keeps it: others may, longer.
    kept: bool = True
    # How often all numbers had been given before.
    cycle: int = 0

    @property
    def cost(self) -> int:
        """Bytes that it takes, or may come to take once its frames are found."""
        frames = len(self.key) // 8 * _FRAME_BYTES if self.data is None else len(self.data)
        return _STACK_BYTES + len(self.key) + frames

    @property
    def process(self) -> int:
        """Whose the user's part is; 0 where there is none."""
        return int(HEAD.unpack_from(self.key)[0])


class StackTable:
    """Numbers stacks. The reader's thread interns, any thread may resolve.

    Numbers grow, and those below `low_water` are forgotten. Behind the last one they begin anew,
    in another `cycle`; while stacks of both are kept, `low_water` is of the one before.
    """

    def __init__(
        self,
        frames: Frames,
        kept: int = _KEPT_STACKS,
        kept_bytes: int = _KEPT_BYTES,
        rates: StackRates | None = None,
        number_max: int = _NUMBER_MAX,
    ) -> None:
        self._number_max = number_max
        self.cycle = self.low_cycle = 0
        self.rates = rates or StackRates()
        self._frames = frames
        # Stacks that get no names, since their user has had its share, until the next trim.
        self._unnamed: dict[bytes, int] = {}
        self._kept = kept
        self._kept_bytes = kept_bytes
        self._numbers = itertools.count(1)
        self._ids: dict[bytes, int] = {}
        self._stacks: dict[int, Stack] = {}
        self._of_process: dict[int, set[bytes]] = defaultdict(set)
        # When processes last came to mean something else by their addresses, ns.
        self._changed: OrderedDict[int, int] = OrderedDict()
        # Bytes of the stacks that are kept: what interning adds, and frames that were found.
        self._bytes = 0
        # Stacks whose frames nobody found: the next one is looked at anew.
        self._given_up: deque[int] = deque()
        # Processes that run CPython without the names of Python functions, and its file.
        self.silent_pythons: dict[int, str] = {}
        self._lock = threading.Lock()
        self._pending: dict[int, Stack] = {}
        # The lowest number that interning can still give.
        self.low_water = 1
        # Called, from any thread, whenever frames have been found.
        self.on_resolved: Callable[[], None] = lambda: None

    def intern(self, tgid: int, kernel: bytes, user: bytes, time: int) -> int:
        """The number of a stack: addresses, u64, of the kernel's part and of the user's.

        Each part is leaf first. `time` (CLOCK_MONOTONIC, ns) is when it was taken. 0 for an
        empty one.
        """
        return self.number(_key(tgid, kernel, user), time)

    def known(self, key: bytes, time: int) -> int:
        """The number of a stack that has or will get names, 0 where it is new; see number()."""
        if self._changed and time < self._changed.get(HEAD.unpack_from(key)[0], 0):
            return 0
        return self._ids.get(key, 0)

    def number(self, key: bytes, time: int, uid: int = 0) -> int:
        """The number of a stack that is given as HEAD, addresses and maybe its owner, for a user.

        `time` (CLOCK_MONOTONIC, ns) is when it was taken. 0 for an empty one.
        """
        if self._changed:
            process = HEAD.unpack_from(key)[0]
            # Of the program before: nobody else's from now on.
            if time < self._changed.get(process, 0):
                return self._add(key, time, uid, shared=False)
        return self._ids.get(key) or self._add(key, time, uid)

    def number_unnamed(self, key: bytes, uid: int, time: int) -> int:
        """The number of a stack that gets no names, for others, too, who see it in this round.

        0 where the user has had too many of these as well.
        """
        known = self._unnamed.get(key)
        if known is not None:
            return known
        if not self.rates.take_unnamed(uid, time):
            return 0
        stack, kernel, user = self._new(key)
        if stack is None:
            return 0
        stack.data = unresolved_stack(stack.id, kernel, user)
        with self._lock:
            self._bytes += stack.cost
        self._unnamed[key] = stack.id
        return stack.id

    def by_number(self, ids: Iterable[int]) -> tuple[Stack, ...]:
        """The stacks of numbers that interning has given since the last trim()."""
        return tuple(self._stacks[number] for number in ids if number)

    def trim(self) -> None:
        """Forget the oldest stacks where there are too many, and those without frames."""
        self._unnamed.clear()
        while len(self._stacks) > self._kept or self._bytes > self._kept_bytes:
            number = next(iter(self._stacks))
            stack = self._stacks.pop(number)
            self.low_water, self.low_cycle = min(number + 1, self._number_max), stack.cycle
            with self._lock:
                self._bytes -= stack.cost
                stack.kept = False
            if self._ids.get(stack.key) == number:
                self._forget_key(stack.key)
        while self._given_up:
            given_up = self._stacks.get(self._given_up.popleft())
            if given_up is not None and self._ids.get(given_up.key) == given_up.id:
                self._forget_key(given_up.key)

    def forget_process(self, tgid: int, time: int) -> None:
        """The same addresses of this process mean something else from `time` (ns) on."""
        self._changed[tgid] = time
        self._changed.move_to_end(tgid)
        if len(self._changed) > _KEPT_CHANGES:
            self._changed.popitem(last=False)
        self.silent_pythons.pop(tgid, None)
        for key in self._of_process.pop(tgid, ()):
            self._ids.pop(key, None)

    def forget_processes(self) -> None:
        """What any process ran may have changed unseen."""
        for keys in self._of_process.values():
            for key in keys:
                self._ids.pop(key, None)
        self._of_process.clear()
        self.silent_pythons.clear()

    def note_silent_python(self, process: int, file: str) -> None:
        """Remember that the Python functions of a process have no names."""
        if len(self.silent_pythons) >= _KEPT_PYTHONS:
            self.silent_pythons.clear()
        self.silent_pythons[process] = file

    def resolve(self, found: Iterable[tuple[int, bytes]]) -> None:
        """Take the frames of stacks: numbers with serialized pb.Stack messages."""
        with self._lock:
            for number, data in found:
                stack = self._pending.pop(number, None)
                if stack is not None:
                    before = stack.cost
                    stack.data = data
                    self._bytes += (stack.cost - before) * stack.kept
        self.on_resolved()

    def give_up(self, found: Iterable[tuple[int, bytes]]) -> None:
        """As resolve(), of stacks that have addresses only: for now, not for ever."""
        found = list(found)
        self._given_up.extend(number for number, _ in found)
        self.resolve(found)

    def _add(self, key: bytes, time: int, uid: int, shared: bool = True) -> int:
        stack, kernel, user = self._new(key)
        if stack is None:
            return 0
        tgid = HEAD.unpack_from(key)[0]
        if shared:
            self._ids[key] = stack.id
            if tgid:
                self._of_process[tgid].add(key)
        with self._lock:
            self._pending[stack.id] = stack
            self._bytes += stack.cost
        self._frames.stack(stack.id, tgid, time, kernel, user, uid, _owner(key))
        return stack.id

    def _new(self, key: bytes) -> tuple[Stack | None, bytes, bytes]:
        """A new stack, none where it is empty, and the addresses of its parts."""
        _, kernel, user = HEAD.unpack_from(key)
        split = HEAD.size + kernel
        own = key[split : split + user]
        if not kernel and not user:
            return None, b"", b""
        number = next(self._numbers)
        if number > self._number_max:
            self.cycle += 1
            self._numbers = itertools.count(2)
            number = 1
        stack = self._stacks[number] = Stack(number, key, cycle=self.cycle)
        # Where frame pointers end, as the ABI has it, the kernel goes one too far.
        while own.endswith(_NO_ADDRESS):
            own = own.removesuffix(_NO_ADDRESS)
        return stack, key[HEAD.size : split], own

    def _forget_key(self, key: bytes) -> None:
        del self._ids[key]
        tgid = HEAD.unpack_from(key)[0]
        keys = self._of_process.get(tgid)
        if keys is not None:
            keys.discard(key)
            if not keys:
                del self._of_process[tgid]


class StacksOf:
    """A table as the sources of one user see it, whose new stacks are named up to a rate.

    With None the user has no limit, and shares sources with others. Where tasks of one `owner`
    alone are traced, stacks are not shared with who sees others' tasks, too: what that one is
    told may be of the program that came to have the process's number since.
    """

    def __init__(self, table: StackTable, uid: int | None, owner: int | None = None) -> None:
        self._table = table
        self._uid = uid
        self._suffix = b"" if owner is None else _OWNER.pack(owner)
        # Stacks that got no names for the rate.
        self._unnamed = 0
        self._told = False

    def intern(self, tgid: int, kernel: bytes, user: bytes, time: int) -> int:
        """As StackTable.intern()."""
        return self.number(_key(tgid, kernel, user), time)

    def warnings(self) -> list[str]:
        """That stacks got no names, once."""
        if not self._unnamed or self._told:
            return []
        self._told = True
        return [
            "stacks have addresses without names where there are more new ones per second than "
            "the policy has names found for, and are left out beyond 10000"
        ]

    def number(self, key: bytes, time: int) -> int:
        """The number of a stack that is given as HEAD and addresses."""
        key += self._suffix
        if self._uid is None:
            return self._table.number(key, time)
        known = self._table.known(key, time)
        if known:
            return known
        if self._table.rates.take(self._uid, time):
            return self._table.number(key, time, self._uid)
        self._unnamed += 1
        return self._table.number_unnamed(key, self._uid, time)

    def by_number(self, ids: Iterable[int]) -> tuple[Stack, ...]:
        """The stacks of numbers that were given since the table's last trim()."""
        return self._table.by_number(ids)


def _key(tgid: int, kernel: bytes, user: bytes) -> bytes:
    return HEAD.pack(tgid if user else 0, len(kernel), len(user)) + kernel + user


def _owner(key: bytes) -> int | None:
    _, kernel, user = HEAD.unpack_from(key)
    end = HEAD.size + kernel + user
    return _OWNER.unpack_from(key, end)[0] if len(key) > end else None
