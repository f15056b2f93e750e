"""The socket that users connect to: claimed by one daemon for whom it should be, or systemd's."""

from __future__ import annotations

import fcntl
import grp
import logging
import os
import socket
import stat
from contextlib import ExitStack
from pathlib import Path

from ptraced import log
from ptraced.errors import Unavailable
from ptraced.peer import peer_credentials

_BACKLOG = 1024


class PublicSocket:
    """A listening Unix socket at `path`, this daemon's alone until `close`.

    A lock on PATH.lock decides who may have it, so a socket file that a killed daemon left is
    replaced without a race. `group` owns the socket where the host has such a group. Raises
    Unavailable where another daemon serves there, or where the path cannot be used.
    """

    def __init__(self, path: Path, mode: int, group: str) -> None:
        self.path = path
        self._resources = ExitStack()
        with ExitStack() as failed:
            failed.callback(self._resources.close)
            try:
                self._lock()
                self._remove_stale()
                self.listener = self._listen(mode, group)
            except OSError as error:
                raise Unavailable(
                    f"error: cannot serve on {path}: {error.strerror or error}"
                ) from None
            failed.pop_all()

    def close(self) -> None:
        """Stop listening here and remove the files; other copies of the descriptor live on."""
        self._resources.close()

    def _lock(self) -> None:
        path = Path(f"{self.path}.lock")
        while True:
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            fd = os.open(path, flags, 0o600)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                holder = os.pread(fd, 32, 0).decode("ascii", "replace").strip()
                os.close(fd)
                self._refuse(holder)
            # A daemon that ends removes the file: the lock must be on the one at `path`.
            if _same_file(fd, path):
                break
            os.close(fd)
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        self._resources.callback(os.close, fd)
        self._resources.callback(path.unlink, missing_ok=True)

    def _remove_stale(self) -> None:
        try:
            mode = self.path.lstat().st_mode
        except FileNotFoundError:
            return
        if not stat.S_ISSOCK(mode):
            raise Unavailable(
                f"error: {self.path} is there and not a socket; remove it, or name another path "
                "by server.socket"
            )
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as probe:
            try:
                probe.connect(os.fspath(self.path))
            except ConnectionRefusedError:
                self.path.unlink()
                return
            except BlockingIOError:
                self._refuse("")
            self._refuse(str(peer_credentials(probe).pid))

    def _refuse(self, holder: str) -> None:
        who = f" (process {log.printable(holder)})" if holder else ""
        raise Unavailable(
            f"error: another daemon{who} serves on {self.path}; stop it, or name another path "
            "by --socket"
        )

    def _listen(self, mode: int, group: str) -> socket.socket:
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        self._resources.callback(listener.close)
        # Nobody can connect before owner and mode are as they should be.
        umask = os.umask(0o177)
        try:
            listener.bind(os.fspath(self.path))
        finally:
            os.umask(umask)
        self._resources.callback(self.path.unlink, missing_ok=True)
        self._give_to_group(group)
        self.path.chmod(mode)
        listener.listen(_BACKLOG)
        return listener

    def _give_to_group(self, group: str) -> None:
        if not group:
            return
        try:
            gid = grp.getgrnam(group).gr_gid
        except KeyError:
            log.event(
                f"no group {group}: the socket stays with the daemon's own group",
                logging.WARNING,
                socket=self.path,
            )
            return
        try:
            os.chown(self.path, -1, gid)
        except PermissionError:
            raise Unavailable(
                f"error: cannot give {self.path} to the group {group}: "
                "the daemon's user must be a member of it"
            ) from None


class InheritedSocket:
    """A listening Unix socket that systemd made: its place, owner and mode are systemd's affair."""

    def __init__(self, listener: socket.socket) -> None:
        self.listener = listener
        self.path = Path(os.fsdecode(listener.getsockname()))
        self.close = listener.close


def _same_file(fd: int, path: Path) -> bool:
    try:
        there = path.stat()
    except FileNotFoundError:
        return False
    return os.path.samestat(os.fstat(fd), there)
