"""Paths followed with a caller's rights, by a daemon that may enter all directories.

Every component is opened as a handle (O_PATH), checked, and gone on from by that handle: what
was checked is what is found, whatever the path leads to by then. Symbolic links are followed
here, not by the kernel; the rules are those of path_resolution(7) and symlink(7).
"""

from __future__ import annotations

import errno
import os
import re
import stat
from dataclasses import dataclass, field
from pathlib import Path

from ptraced.diagnostics import printable
from ptraced.errors import PermissionRefused
from ptraced.identity import Caller
from ptraced.policy.file_permissions import SEARCH, may

# Nothing is opened by this but a handle: devices do not notice, FIFOs do not block.
_LOOK = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
# MAXSYMLINKS of the kernel's fs/namei.c.
_LINKS_MAX = 40
# Each directory on the way has a descriptor until the end.
_DEPTH_MAX = 64
_PROTECTED_SYMLINKS = Path("/proc/sys/fs/protected_symlinks")
_MOUNT_ID = re.compile(r"^mnt_id:\s*(\d+)$", re.M)
# The server of one is anybody's program, which need not answer; links in /proc lead where the
# daemon may look, not the caller.
_STRANGE = re.compile(r"fuse(\.|blk|$)|proc$|autofs$")


@dataclass(frozen=True, slots=True)
class Mount:
    """A mount as proc_pid_mountinfo(5) tells of it."""

    type: str
    options: frozenset[str]


@dataclass
class Walk:
    """The way of one caller to one file, from a root directory.

    `root` is its descriptor, `pid` the process whose it is, "self" for the daemon's own.
    """

    caller: Caller
    root: int
    pid: int | str = "self"
    _entered: list[int] = field(default_factory=list)
    _mounts: dict[str, Mount] = field(default_factory=dict)

    def open(self, path: str) -> tuple[int, Mount]:
        """A handle of what an absolute path leads to, and the mount that it is on.

        Raises the OSError that the caller would get, and PermissionRefused for places where
        the daemon does not follow callers.
        """
        try:
            return self._open(path)
        finally:
            for handle in self._entered:
                os.close(handle)
            self._entered.clear()

    def _open(self, path: str) -> tuple[int, Mount]:
        self._start(path)
        # The next one stands last.
        pending = _components(path)
        links = 0
        while pending:
            name = pending.pop()
            if not name:
                continue
            self._check_may_search()
            if name in (".", ".."):
                self._leave(name)
                continue
            handle = os.open(name, _LOOK, dir_fd=self._entered[-1])
            try:
                mount = self._mount(handle, path)
                mode = os.fstat(handle).st_mode
                if stat.S_ISLNK(mode):
                    links += 1
                    self._check_may_follow(handle, mount, links, trailing=not pending)
                    target = os.readlink(b"", dir_fd=handle)
                    if target.startswith(b"/"):
                        self._start(path)
                    pending += _components(os.fsdecode(target))
                elif stat.S_ISDIR(mode):
                    self._enter(handle)
                elif pending:
                    raise _error(errno.ENOTDIR)
                else:
                    return os.dup(handle), mount
            finally:
                os.close(handle)
        return os.dup(self._entered[-1]), self._mount(self._entered[-1], path)

    def _start(self, path: str) -> None:
        for handle in self._entered:
            os.close(handle)
        self._entered[:] = [os.dup(self.root)]
        self._mount(self.root, path)

    def _enter(self, handle: int) -> None:
        if len(self._entered) == _DEPTH_MAX:
            raise _error(errno.ENAMETOOLONG)
        self._entered.append(os.dup(handle))

    def _leave(self, name: str) -> None:
        # The directory that we came from; the root is above itself.
        if name == ".." and len(self._entered) > 1:
            os.close(self._entered.pop())

    def _check_may_search(self) -> None:
        if not may(self.caller, self._entered[-1], SEARCH):
            raise _error(errno.EACCES)

    def _check_may_follow(self, link: int, mount: Mount, links: int, *, trailing: bool) -> None:
        """The limits of links: nosymfollow, and fs.protected_symlinks (proc_sys_fs(5))."""
        if links > _LINKS_MAX or "nosymfollow" in mount.options:
            raise _error(errno.ELOOP)
        if not trailing or _PROTECTED_SYMLINKS.read_text().strip() == "0":
            return
        owner = os.fstat(link).st_uid
        folder = os.fstat(self._entered[-1])
        shared = folder.st_mode & stat.S_ISVTX and folder.st_mode & stat.S_IWOTH
        if shared and owner not in (self.caller.uid, folder.st_uid):
            raise _error(errno.EACCES)

    def _mount(self, handle: int, path: str) -> Mount:
        """The mount that a handle is on. Known without asking whoever serves it."""
        found = _MOUNT_ID.search(Path(f"/proc/self/fdinfo/{handle}").read_text())
        number = found[1] if found else ""
        if number not in self._mounts:
            self._mounts = _read_mounts(self.pid)
        mount = self._mounts.get(number)
        if mount is None or _STRANGE.match(mount.type):
            kind = f"of type {mount.type}" if mount else "that cannot be told"
            raise PermissionRefused(
                f"'{printable(path)}' leads into a file system {kind}, where ptraced follows only "
                "those who may probe all files"
            )
        return mount


def _components(path: str) -> list[str]:
    """The names of a path, the first one last; before them "" where it ends in a slash."""
    names = [name for name in path.split("/") if name]
    if path.endswith("/"):
        # What is before it has to be a directory, even if that may not be searched.
        names.append("")
    return names[::-1]


def _read_mounts(pid: int | str) -> dict[str, Mount]:
    mounts = {}
    lines = os.fsdecode(Path(f"/proc/{pid}/mountinfo").read_bytes()).split("\n")
    for line in filter(None, lines):
        fields, _, rest = line.partition(" - ")
        number, *_, options = fields.split(" ")[:6]
        mounts[number] = Mount(rest.split(" ")[0], frozenset(options.split(",")))
    return mounts


def _error(number: int) -> OSError:
    return OSError(number, os.strerror(number))
