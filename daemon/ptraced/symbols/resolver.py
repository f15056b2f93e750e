"""Stacks to frames: which file an address belongs to, and which function in it."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from weakref import WeakSet

from ptrace_elf.elf import FileData
from ptraced.symbols import jit, proc
from ptraced.symbols.address_space import AddressSpace, Mapping
from ptraced.symbols.demangle import Demangler
from ptraced.symbols.frames import encoded_frame, encoded_stack
from ptraced.symbols.history import History
from ptraced.symbols.images import VDSO, Images
from ptraced.symbols.jit import JitMap
from ptraced.symbols.kernel import KernelSymbols

# The memory of a process is looked at again for an unknown address after so many seconds.
_LOOK_AGAIN = 1.0
# /proc tells when a process was created to one tick of its clock, ns.
_START_ERROR = 20_000_000
# Time in which an interpreter must have begun its map, ns.
_PYTHON_PATIENCE = 500_000_000
_KERNEL_FRAMES_MAX = 100_000
# Bytes of the maps that all processes keep of functions they compile.
_JIT_MAPS_BYTES_MAX = 384 << 20
_PYTHON = re.compile(r"(?:lib)?python3\.\d+[a-z]*(?:\.so[.\d]*)?")
# Memory that is no file's, where functions are that were compiled at run time; so does perf
# tell it (is_anon_memory(), is_no_dso_memory()).
_ANONYMOUS = ("//anon", "[", "/dev/zero", "/memfd:", "anon_inode:", "/anon_hugepage", "/SYSV")
_OF_THE_KERNEL = ("[vsyscall]", "[uprobes]")


class Resolver:
    """Turns stacks into the messages that clients get.

    `on_python_without_map` is called once for a process whose Python functions cannot be
    told, with its number and its interpreter.
    """

    def __init__(
        self,
        kernel: KernelSymbols,
        on_python_without_map: Callable[[int, str], None] = lambda pid, path: None,
    ) -> None:
        self.history = History()
        self._kernel = kernel
        self._images = Images()
        self._demangler = Demangler()
        self._on_python = on_python_without_map
        self._kernel_frames: dict[int, bytes] = {}
        self._with_maps: WeakSet[AddressSpace] = WeakSet()

    def forget(self) -> None:
        """Let go of all that was found: what processes still have can be found again."""
        self.history = History()
        self._images = Images()
        self._kernel_frames.clear()

    def stack(
        self,
        stack_id: int,
        tgid: int,
        at: int,
        kernel: Iterable[int],
        user: Iterable[int],
        owner: int | None = None,
    ) -> bytes:
        """A pb.Stack of addresses, leaf first, as they were in process `tgid` at a time (ns).

        With an `owner` the process is told of only as long as that user may look at it itself.
        """
        frames = [self._kernel_frame(address, caller) for address, caller in _with_role(kernel)]
        frames += self._user_frames(tgid, at, user, owner)
        return encoded_stack(stack_id, frames)

    def close(self) -> None:
        self._kernel.close()
        self._demangler.close()

    def _kernel_frame(self, address: int, caller: int) -> bytes:
        key = address << 1 | caller
        frame = self._kernel_frames.get(key)
        if frame is not None:
            return frame
        found = self._kernel.find(address - caller)
        if found is None:
            return encoded_frame(address, True, "", 0, "")
        name = self._demangler.demangle(found.name)
        frame = encoded_frame(address, True, name, address - found.start, found.dso)
        if len(self._kernel_frames) >= _KERNEL_FRAMES_MAX:
            self._kernel_frames.clear()
        self._kernel_frames[key] = frame
        return frame

    def _user_frames(
        self, tgid: int, at: int, user: Iterable[int], owner: int | None
    ) -> list[bytes]:
        addresses = list(_with_role(user))
        if not addresses:
            return []
        space = self.history.space(tgid, at)
        if not _is_complete(space):
            # It is older than the records of it.
            self._look(space, at)
        known = space.frames if at >= space.newest else {}
        frames = [
            known.get(address << 1 | caller) or self._user_frame(space, address, caller, at)
            for address, caller in addresses
        ]
        if not space.is_shown_to(owner):
            return [encoded_frame(address, False, "", 0, "") for address, _ in addresses]
        if space.python and not space.python_done:
            self._check_python(space, at)
        return frames

    def _user_frame(self, space: AddressSpace, address: int, caller: int, at: int) -> bytes:
        mapping = space.find(address - caller, at)
        if mapping is None and self._look(space, at):
            mapping = space.find(address - caller, at)
        if mapping is None:
            return encoded_frame(address, False, "", 0, "")
        path = mapping.file.path
        if path in _OF_THE_KERNEL:
            return encoded_frame(address, False, "", 0, path)
        if path != VDSO and (not path or path.startswith(_ANONYMOUS)):
            return self._compiled_frame(space, address, caller)
        if not space.python and _PYTHON.fullmatch(os.path.basename(path)):
            space.python, space.python_since = path, at
        return self._file_frame(space, mapping, address, caller, at)

    def _file_frame(
        self, space: AddressSpace, mapping: Mapping, address: int, caller: int, at: int
    ) -> bytes:
        path = mapping.file.path
        image = self._images.of(mapping, space.pid)
        if image is None:
            return encoded_frame(address, False, "", 0, path)
        in_file = address - mapping.start + mapping.offset
        found = image.find(in_file - caller, self._demangler)
        name, start = found or ("", in_file)
        frame = encoded_frame(address, False, name, in_file - start, path)
        if at >= space.newest:
            space.remember(address << 1 | caller, frame)
        return frame

    def _compiled_frame(self, space: AddressSpace, address: int, caller: int) -> bytes:
        functions = self._jit_map(space)
        size = functions.size
        found = functions.find(address - caller)
        if functions.size > size:
            self._bound_maps()
        if found is None:
            return encoded_frame(address, False, "", 0, "")
        name, start = found
        return encoded_frame(address, False, name, address - start, functions.path)

    def _bound_maps(self) -> None:
        """Where the maps of all processes take too much, the largest ones go."""
        sizes = {space: space.jit.size for space in self._with_maps if space.jit is not None}
        over = sum(sizes.values()) - _JIT_MAPS_BYTES_MAX
        for space in sorted(sizes, key=sizes.__getitem__, reverse=True):
            if over <= 0:
                break
            over -= sizes[space]
            space.jit = None

    def _jit_map(self, space: AddressSpace) -> JitMap:
        if space.jit is None:
            space.jit = JitMap(partial(_open_map, space))
            self._with_maps.add(space)
        return space.jit

    def _check_python(self, space: AddressSpace, at: int) -> None:
        """Tell of an interpreter that has had time to begin a map of its functions."""
        if at < space.python_since + _PYTHON_PATIENCE:
            return
        space.python_done = True
        functions = self._jit_map(space)
        functions.look()
        if functions.missing:
            self._on_python(space.pid, space.python)

    def _look(self, space: AddressSpace, at: int) -> bool:
        """Look at the memory as it is now, of the process or else of whom it has it from."""
        look: AddressSpace | None = space
        while look is not None:
            if self._look_at(look, at):
                return True
            if _is_complete(look):
                return False
            at = min(at, look.forked_at)
            look = look.parent
        return False

    def _look_at(self, space: AddressSpace, at: int) -> bool:
        now = time.monotonic()
        if now < space.tried_at + _LOOK_AGAIN or not self.history.is_current(space):
            return False
        space.tried_at = now
        seen_at = time.monotonic_ns()
        try:
            space.owners.add(proc.shown_to(space.pid))
            memory = proc.executable_memory(space.pid)
            space.owners.add(proc.shown_to(space.pid))
            # The number may be another process's by now.
            if proc.started_at(space.pid) > at + _START_ERROR:
                return False
        except (OSError, ValueError, IndexError):
            return False
        for mapped in memory:
            file = self.history.file(mapped.path, None, mapped.identity)
            place = (mapped.start, mapped.end, mapped.offset)
            self.history.add_mapping(space, Mapping(*place, file, seen_at, snapshot=True))
        space.complete = True
        return True


def _open_map(space: AddressSpace) -> tuple[str, FileData]:
    """The map of a space's process, and whose that is now."""
    try:
        space.owners.add(proc.shown_to(space.pid))
        found = jit.open_map(space.pid)
        space.owners.add(proc.shown_to(space.pid))
    except FileNotFoundError:
        if not os.path.exists(f"/proc/{space.pid}"):
            raise ProcessLookupError from None
        raise
    return found


def _is_complete(space: AddressSpace) -> bool:
    """Whether all that was mapped since it began is known, from its parents if it has any."""
    while not space.complete:
        if space.parent is None:
            return False
        space = space.parent
    return True


def _with_role(addresses: Iterable[int]) -> Iterator[tuple[int, int]]:
    """Addresses with 0 for the leaf's and 1 for those at which calls return.

    The call itself is before that address; where a function never returns, nothing of its
    caller comes behind.
    """
    caller = 0
    for address in addresses:
        yield address, caller
        caller = 1
