"""The files that user probes go into: opened once, never run, never waited for.

With a target process, a path means what that process would find there: its mount
namespace and its root count, and symbolic links cannot lead out of that root.

For a caller who may not probe all files, paths are followed with the rights of that caller, who
has to be able to run what they lead to: to read it, and to map it as code, which is what "noexec"
forbids. The x bit does not tell: libraries have none, and ld.so runs any program that it can
read. What can be run but not read would give away more than its owner has.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Sequence
from pathlib import Path

from ptraced import syscalls
from ptraced.diagnostics import printable
from ptraced.errors import NotFound, PermissionRefused, TraceError, Unavailable
from ptraced.identity import Caller
from ptraced.origin import ProbedFile
from ptraced.policy.file_permissions import READ, may
from ptraced.probes.elf_search import Opener, find_by_name
from ptraced.probes.path_walk import Walk
from ptraced.symbols.proc import same_place

# include/uapi/linux/openat2.h
_RESOLVE_IN_ROOT = 0x10
# Nothing is opened by this but a handle: devices do not notice, FIFOs do not block.
_LOOK = os.O_PATH | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_PROC = Path("/proc")
# PATH_MAX, closing NUL included.
_PATH_MAX = 4096
_KINDS = (
    (stat.S_ISDIR, "a directory"),
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISSOCK, "a socket"),
)


def open_probed(path: str, pids: Sequence[int], caller: Caller | None = None) -> ProbedFile:
    """Open the file at `path`, as the first of `pids` sees it if there are any.

    With a `caller`, only what that user could run, and such a process of its own. A name without
    a slash is looked for as ld.so and shells do. Raises a TraceError with a message of one line
    that names the path.
    """
    if not path or "\0" in path:
        raise TraceError("a file is missing: its path stands in quotes behind the '@'")
    if len(os.fsencode(path)) >= _PATH_MAX:
        raise TraceError(f"no path has {_PATH_MAX} bytes or more")
    root, of_process = _root_of(pids[0]) if pids else (None, 0)
    try:
        opener: Opener = lambda tried, flags: _open(root, tried, flags)  # noqa: E731
        if caller is not None:
            opener = _opener_of(caller, root, pids[0] if root is not None else 0)
        if "/" not in path:
            path = find_by_name(path, opener)
        elif not path.startswith("/"):
            raise TraceError(
                f"'{printable(path)}' is a relative path: the daemon has no current folder of "
                "yours, an absolute path does"
            )
        file = ProbedFile(_open_regular(opener, path, of_caller=caller is not None), path)
        if of_process:
            _check_same(of_process, file)
        return file
    finally:
        if root is not None:
            os.close(root)


def _root_of(pid: int) -> tuple[int | None, int]:
    """The root directory of a process, None if it is our own.

    Where it may be another one, and nobody lets us look, the process is told besides: what is
    opened here instead is to be compared.
    """
    try:
        flags = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
        return os.open(_PROC / str(pid) / "root", flags), 0
    except (FileNotFoundError, ProcessLookupError):
        raise NotFound(f"there is no process {pid}, whose view of the file would count") from None
    except PermissionError:
        return None, pid


def _check_same(pid: int, file: ProbedFile) -> None:
    """Refuse a file that the process may see another one in place of.

    The path has to be on the same part of the same file system there, and so has what it
    leads to.
    """
    target = os.readlink(f"/proc/self/fd/{file.fd}")
    if not (same_place(pid, file.path) and same_place(pid, target)):
        raise Unavailable(
            f"process {pid} has files of its own (another mount namespace or root), and to look "
            "into it the daemon needs CAP_SYS_PTRACE"
        )


def _opener_of(caller: Caller, root: int | None, pid: int) -> Opener:
    """Opens handles of what a caller could run, below the root of a process or our own.

    The opener raises OSError, and PermissionRefused where callers are not followed.
    """
    if root is not None:
        _check_namespaces(pid)

    def open_(path: str, _flags: int) -> int:
        start = os.open("/", _LOOK) if root is None else os.dup(root)
        try:
            handle, mount = Walk(caller, start, pid if root is not None else "self").open(path)
        finally:
            os.close(start)
        try:
            if stat.S_ISREG(os.fstat(handle).st_mode):
                _check_can_be_run(caller, handle, path, "noexec" in mount.options)
        except BaseException:
            os.close(handle)
            raise
        return handle

    return open_


def _check_can_be_run(caller: Caller, handle: int, path: str, noexec: bool) -> None:
    if not may(caller, handle, READ):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    if noexec:
        raise PermissionRefused(
            f"'{printable(path)}' is on a file system that is mounted noexec: you cannot run it"
        )


def _check_namespaces(pid: int) -> None:
    """Refuse file systems that users may have made, and that wait for them or lie to us."""
    try:
        ours, theirs = (
            {kind: os.readlink(f"/proc/{who}/ns/{kind}") for kind in ("mnt", "user")}
            for who in ("self", pid)
        )
    except OSError as error:
        raise Unavailable(f"process {pid} cannot be looked at: {error.strerror}") from None
    if ours["mnt"] != theirs["mnt"] and ours["user"] != theirs["user"]:
        raise PermissionRefused(
            f"process {pid} has mounts and users of its own (namespaces), into which ptraced "
            "follows only those who may probe all files"
        )


def _open_regular(opener: Opener, path: str, *, of_caller: bool) -> int:
    try:
        handle = opener(path, _LOOK)
    except OSError as error:
        raise _refusal(path, error, of_caller) from None
    try:
        mode = os.fstat(handle).st_mode
        if not stat.S_ISREG(mode):
            kind = next((name for test, name in _KINDS if test(mode)), "no regular file")
            raise TraceError(f"'{printable(path)}' is {kind}, not a program or shared library")
        # The very file that was looked at, whatever the path leads to by now.
        return os.open(f"/proc/self/fd/{handle}", _READ)
    except OSError as error:
        raise _refusal(path, error, False) from None
    finally:
        os.close(handle)


def _open(root: int | None, path: str, flags: int) -> int:
    if root is None:
        return os.open(path, flags)
    return syscalls.openat2(root, path, flags, _RESOLVE_IN_ROOT)


def _refusal(path: str, error: OSError, of_caller: bool) -> TraceError:
    shown = f"'{printable(path)}'"
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        return NotFound(f"there is no file {shown}")
    if error.errno == errno.EACCES:
        if of_caller:
            return PermissionRefused(f"you may not read {shown}: permission denied")
        return Unavailable(f"{shown} may not be read by the daemon")
    return TraceError(f"{shown} cannot be opened: {error.strerror}")
