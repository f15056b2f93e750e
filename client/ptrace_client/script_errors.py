"""Exceptions of a user's callbacks: shown without our own frames, counted, not repeated."""

from __future__ import annotations

import os
import select
import sys
import traceback
from collections import Counter
from collections.abc import Callable
from typing import Any, Final

from ptrace_client.printing import terminal_safe

_OURS = os.path.dirname(os.path.abspath(__file__)) + os.sep
# Tracebacks of one kind, from one line, that are shown in full.
_SHOWN = 3
# What a shell reports for a program that SIGPIPE ended.
_SIGPIPE_STATUS: Final = 141


def user_traceback(error: BaseException) -> str:
    """Return the traceback as Python prints it, without frames of this package and importlib."""
    return "".join(_summary(error).format())


def _summary(error: BaseException) -> traceback.TracebackException:
    summary = traceback.TracebackException.from_exception(error)
    todo: list[traceback.TracebackException | None] = [summary]
    while todo:
        part = todo.pop()
        if part is None:
            continue
        part.stack[:] = [frame for frame in part.stack if not _is_internal(frame.filename)]
        todo += [part.__cause__, part.__context__, *(part.exceptions or ())]
    return summary


def _is_internal(filename: str) -> bool:
    return filename.startswith((_OURS, "<frozen importlib"))


class EndRun(BaseException):
    """Ends a run at once, without `__exit__`, with an exit status."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class ScriptErrors:
    """Exceptions of one run. With `strict` the first one ends it."""

    def __init__(self, strict: bool = False) -> None:
        # Exceptions so far, count.
        self.count = 0
        self._strict = strict
        self._kinds: Counter[tuple[type, str, int | None]] = Counter()

    def call(self, callback: Callable[..., Any], *args: object) -> bool:
        """Call a callback; return whether it did not raise."""
        try:
            callback(*args)
        except Exception as error:
            self.record(error)
            return False
        return True

    def record(self, error: Exception) -> None:
        """Count an exception, and show it unless its like was shown several times.

        Raise EndRun where the run must not go on.
        """
        end_at_closed_stdout(error)
        self.count += 1
        self._show(error)
        if self._strict:
            raise EndRun(1) from None

    def _show(self, error: Exception) -> None:
        kind, place = type(error), _place(error)
        self._kinds[kind, *place] += 1
        seen = self._kinds[kind, *place]
        if seen <= _SHOWN:
            # What the exception says may come from an event.
            sys.stderr.write(terminal_safe(user_traceback(error)))
        if seen == _SHOWN:
            filename, line = place
            where = f"{filename}:{line}" if filename else "this place"
            print(f"further {kind.__name__} from {where} are only counted", file=sys.stderr)

    def summary(self) -> str:
        """Return "2 exceptions in handlers"."""
        return f"{self.count} exception{'s' * (self.count != 1)} in handlers"


def end_at_closed_stdout(error: Exception) -> None:
    """Raise EndRun where an exception means that nobody reads our output any more."""
    if isinstance(error, BrokenPipeError) and _stdout_is_closed():
        raise EndRun(_SIGPIPE_STATUS) from None


def _stdout_is_closed() -> bool:
    """Return whether the reader of our output is gone, as in `ptrace-client ... | head -1`."""
    try:
        output = sys.stdout.fileno()
    except (OSError, ValueError):
        # In a notebook, say, there is no file behind it.
        return False
    if not hasattr(select, "poll"):
        return False
    watch = select.poll()
    watch.register(output, 0)
    if not any(state & select.POLLERR for _, state in watch.poll(0)):
        return False
    # What is buffered can never be written: the interpreter's own flush must not fail on it.
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), output)
    return True


def _place(error: BaseException) -> tuple[str, int | None]:
    """Return file and line of the innermost frame that is the user's."""
    place: tuple[str, int | None] = "", None
    step = error.__traceback__
    while step is not None:
        filename = step.tb_frame.f_code.co_filename
        if not _is_internal(filename):
            place = filename, step.tb_lineno
        step = step.tb_next
    return place
