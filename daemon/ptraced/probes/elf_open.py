"""The files that user probes go into: opened once, never run, never waited for.

With a target process, a path means what that process would find there: its mount
namespace and its root count, and symbolic links cannot lead out of that root.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Sequence
from pathlib import Path

from ptraced import syscalls
from ptraced.diagnostics import printable
from ptraced.errors import NotFound, TraceError, Unavailable
from ptraced.origin import ProbedFile
from ptraced.probes.elf_search import find_by_name
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


def open_probed(path: str, pids: Sequence[int]) -> ProbedFile:
    """Open the file at `path`, as the first of `pids` sees it if there are any.

    A name without a slash is looked for as ld.so and shells do. Raises a TraceError with a
    message of one line that names the path.
    """
    if not path or "\0" in path:
        raise TraceError("a file is missing: its path stands in quotes behind the '@'")
    if len(os.fsencode(path)) >= _PATH_MAX:
        raise TraceError(f"no path has {_PATH_MAX} bytes or more")
    root, of_process = _root_of(pids[0]) if pids else (None, 0)
    try:
        if "/" not in path:
            path = find_by_name(path, lambda tried, flags: _open(root, tried, flags))
        elif not path.startswith("/"):
            raise TraceError(
                f"'{printable(path)}' is a relative path: the daemon has no current folder of "
                "yours, an absolute path does"
            )
        file = ProbedFile(_open_regular(root, path), path)
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


def _open_regular(root: int | None, path: str) -> int:
    try:
        handle = _open(root, path, _LOOK)
    except OSError as error:
        raise _refusal(path, error) from None
    try:
        mode = os.fstat(handle).st_mode
        if not stat.S_ISREG(mode):
            kind = next((name for test, name in _KINDS if test(mode)), "no regular file")
            raise TraceError(f"'{printable(path)}' is {kind}, not a program or shared library")
        # The very file that was looked at, whatever the path leads to by now.
        return os.open(f"/proc/self/fd/{handle}", _READ)
    except OSError as error:
        raise _refusal(path, error) from None
    finally:
        os.close(handle)


def _open(root: int | None, path: str, flags: int) -> int:
    if root is None:
        return os.open(path, flags)
    return syscalls.openat2(root, path, flags, _RESOLVE_IN_ROOT)


def _refusal(path: str, error: OSError) -> TraceError:
    shown = f"'{printable(path)}'"
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        return NotFound(f"there is no file {shown}")
    if error.errno == errno.EACCES:
        return Unavailable(f"{shown} may not be read by the daemon")
    return TraceError(f"{shown} cannot be opened: {error.strerror}")
