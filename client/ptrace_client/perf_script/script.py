"""A loaded script in perf's dialect, and how it is called.

What perf does at load, at the ends and at an exception is in
tools/perf/util/scripting-engines/trace-event-python.c: python_start_script, run_start_sub,
handler_call_die.
"""

from __future__ import annotations

import io
import os
import sys
import traceback
import types
from collections.abc import Callable, Sequence
from importlib.machinery import SourceFileLoader
from pathlib import Path
from typing import Any, Final

from ptrace_client.errors import ClientError
from ptrace_client.perf_script import context as context_module
from ptrace_client.perf_script.context import ScriptContext
from ptrace_client.perf_script.python2 import python2_hint
from ptrace_client.printing import terminal_safe
from ptrace_client.script_errors import EndRun

Callback = Callable[..., Any]

# What scripts find by os.environ["PERF_EXEC_PATH"], and below it the modules they import.
EXEC_PATH: Final = Path(__file__).parents[1] / "perf_exec"
_MODULES: Final = EXEC_PATH / "scripts/python/Perf-Trace-Util/lib/Perf/Trace"
# perf's status where a script cannot be loaded, and what a shell reports of SIGABRT, by which
# perf ends where a handler fails.
_LOAD_FAILED: Final = 255
ABORTED: Final = 134
_OURS: Final = str(Path(__file__).parents[1]) + os.sep


class PerfScript:
    """A script that has been run as __main__; its handlers are looked up when events come."""

    def __init__(self, path: str, namespace: dict[str, Any]) -> None:
        # As it was given, which is how perf names it in messages.
        self.path = path
        self.namespace = namespace

    def handler(self, name: str) -> Callback | None:
        """Return what is called `name` in the script now, None unless it is callable."""
        found = self.namespace.get(name)
        return found if callable(found) else None

    def call(self, name: str, *args: object) -> bool:
        """Call what is called `name`; return whether there was anything. Raise as die() does."""
        handler = self.handler(name)
        if handler is None:
            return False
        try:
            handler(*args)
        except BaseException as error:
            die(error)
        return True

    def begin(self, context: ScriptContext) -> None:
        """Make the context known to the script and call trace_begin."""
        vars(sys.modules["perf_trace_context"])["perf_script_context"] = context
        self.namespace["perf_script_context"] = context
        self.call("trace_begin")


def load_perf_script(path: str, args: Sequence[str]) -> PerfScript:
    """Run the file `path` as __main__, with `args` behind its name in sys.argv.

    Raise ClientError where there is no such
    file; EndRun with perf's status where the script fails; SystemExit where it exits.
    """
    namespace = _prepare(path, list(args))
    try:
        source = Path(path).read_bytes()
    except OSError as error:
        raise ClientError(f"cannot load {path}: {error.strerror}") from None
    try:
        exec(compile(source, path, "exec", dont_inherit=True), namespace)
    except (SystemExit, EndRun):
        raise
    except BaseException as error:
        show(error)
        print(f"Error running python script {path}", file=sys.stderr)
        raise EndRun(_LOAD_FAILED) from None
    return PerfScript(path, namespace)


def die(error: BaseException) -> None:
    """End the run because a callback raised: as perf does, without trace_end.

    Raise EndRun, or the SystemExit with which the script ends itself.
    """
    if isinstance(error, SystemExit | EndRun):
        raise error
    show(error)
    print(
        "Fatal Python error: handler_call_die: problem in Python trace event handler",
        file=sys.stderr,
    )
    raise EndRun(ABORTED) from None


def show(error: BaseException) -> None:
    """Print the traceback that perf would print: it begins in the script."""
    step = error.__traceback__
    while step is not None and _is_ours(step.tb_frame.f_code.co_filename):
        step = step.tb_next
    sys.stdout.flush()
    traceback.print_exception(type(error), error, step)
    hint = python2_hint(error)
    if hint is not None:
        print(terminal_safe(hint), file=sys.stderr)


def _is_ours(filename: str) -> bool:
    return filename.startswith((_OURS, "<ptrace-client")) and not filename.startswith(
        str(EXEC_PATH)
    )


def _prepare(path: str, args: list[str]) -> dict[str, Any]:
    """Set up the interpreter as perf's is, and return the namespace of a new __main__."""
    sys.argv = [path, *args]
    sys.path.insert(0, os.path.dirname(os.path.realpath(path)))
    sys.path.append(str(_MODULES))
    os.environ["PERF_EXEC_PATH"] = str(EXEC_PATH)
    sys.modules["perf_trace_context"] = context_module.create_module()
    if isinstance(sys.stdout, io.TextIOWrapper):
        # Names of tasks and files need not be UTF-8; they leave as the bytes they were.
        sys.stdout.reconfigure(errors="surrogateescape")
    module = types.ModuleType("__main__")
    module.__file__ = path
    module.__loader__ = SourceFileLoader("__main__", path)
    sys.modules["__main__"] = module
    vars(module)["__builtins__"] = sys.modules["builtins"]
    return vars(module)
