"""A command that is started to be traced: it waits until that has begun."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Final, NoReturn

from ptrace_client.errors import ClientError
from ptrace_client.options import Selection
from ptrace_client.printing import terminal_safe

if TYPE_CHECKING:
    from ptrace_client.host import Host

# Other on every host, and after every start; containers have their host's.
_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")
# What Python ignores and programs do not expect to be ignored.
_RESTORED: Final = [getattr(signal, name, None) for name in ("SIGPIPE", "SIGXFSZ")]
_NOT_RUN: Final = 127


class TracedCommand:
    """A process that becomes a program when it is let go; a context manager that ends it.

    As it forks, make it before there are other threads. `pid` is its process from the beginning;
    `status` is what it exited with, or the negative number of a signal, None until it has ended.
    """

    status: int | None = None

    def __init__(self, words: Sequence[str]) -> None:
        """Prepare to run `words`. Raise ClientError where there is no such command."""
        # Rarely wanted, and slow to import.
        import shutil

        self._name = terminal_safe(words[0])
        path = shutil.which(words[0])
        if path is None:
            raise ClientError(f"cannot run {self._name}: there is no such command")
        self._waiter: threading.Thread | None = None
        self._ended = False
        # Held where the end is noted and the process is signalled, as its number is free then.
        self._ending = threading.Lock()
        go_reader, go_writer = os.pipe()
        failed_reader, failed_writer = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(go_writer)
            _become(path, words, go_reader, failed_writer)
        os.close(go_reader)
        os.close(failed_writer)
        self._go = os.fdopen(go_writer, "wb", buffering=0)
        self._failed = os.fdopen(failed_reader, "rb")

    def __enter__(self) -> TracedCommand:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def start(self, ended: Callable[[], None]) -> None:
        """Let it go. `ended` is called from another thread when the process has ended.

        Raise ClientError where the program cannot be run.
        """
        with self._go, self._failed:
            try:
                self._go.write(b"\n")
            except BrokenPipeError:
                # Somebody has killed it.
                pass
            text = self._failed.read()
        self._waiter = threading.Thread(
            target=self._wait, args=(ended,), name="ptrace-command", daemon=True
        )
        self._waiter.start()
        if text:
            raise ClientError(f"cannot run {self._name}: {os.strerror(int(text))}")

    def close(self) -> None:
        """End the process, by SIGTERM as perf does, and wait for it."""
        if self._waiter is None:
            with self._go, self._failed:
                # Without the word to go it gives up.
                pass
            self._reap()
            return
        with self._ending:
            if not self._ended:
                try:
                    os.kill(self.pid, signal.SIGTERM)
                except PermissionError:
                    # It has become another user's, as sudo does: it ends when it wants to.
                    return
        self._waiter.join()

    def _wait(self, ended: Callable[[], None]) -> None:
        os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
        self._reap()
        ended()

    def _reap(self) -> None:
        with self._ending:
            if not self._ended:
                self._ended = True
                _, status = os.waitpid(self.pid, 0)
                self.status = os.waitstatus_to_exitcode(status)


def trace_command(
    stack: contextlib.ExitStack, words: Sequence[str], selection: Selection
) -> tuple[TracedCommand | None, Selection]:
    """Return the command of these words, which `stack` ends, and the selection of its process.

    Without words, None and the selection as it is. Raise ClientError where the selection names
    other tasks, too, or there is no such command.
    """
    if not words:
        return None, selection
    if selection.pids or selection.tids:
        raise ClientError("a command behind -- is traced alone: leave out -p and -t")
    command = stack.enter_context(TracedCommand(words))
    return command, replace(selection, pids=(command.pid,))


def check_host(host: Host) -> None:
    """Raise ClientError where the processes of this machine are not those that a host traces."""
    try:
        own = _BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:
        own = ""
    if host.info.boot_id and host.info.boot_id != own:
        name = terminal_safe(host.info.hostname)
        raise ClientError(
            f"the command behind -- would run on this machine, and {name} is another one: "
            "start it there, and name its process with -p"
        )


def _become(path: str, words: Sequence[str], go: int, failed: int) -> NoReturn:
    """Wait for a byte from `go`, then run the program; tell `failed` why that does not work."""
    arguments = [*words]
    try:
        for number in _RESTORED:
            if number is not None:
                signal.signal(number, signal.SIG_DFL)
        # The pipe is closed where the parent ended, or does not want it. From here to the program
        # all is traced: nothing else is to happen.
        if os.read(go, 1):
            os.execv(path, arguments)
    except OSError as error:
        os.write(failed, str(error.errno).encode())
    finally:
        os._exit(_NOT_RUN)
